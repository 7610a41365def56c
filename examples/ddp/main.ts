/**
 * Data-parallel training: two processes, each with its half of every batch, a copy of the model, and a part of the cache that both share. After
 * each step they meet: gradients are averaged, as DistributedDataParallel does, and neither begins the next step before the other has ended this
 * one. Then one process trains on the same batches alone, and comes to the same model.
 *
 *   npx tsx examples/ddp/main.ts
 */
import { type ChildProcess, fork } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";
import type { RankEnd, RankStep } from "./rank.js";

const RANKS = 2;
/** Of all ranks together. */
const BATCH_SIZE = 32;

interface Run {
  /** The keys of each step's batch over all ranks, in the global order. */
  readonly steps: readonly (readonly string[])[];
  readonly weights: readonly number[];
  readonly ends: readonly RankEnd[];
}

/** Averages what the ranks send, step by step: an all-reduce, and so a barrier. */
class AllReduce {
  readonly steps: string[][] = [];
  readonly #ranks: readonly ChildProcess[];
  #waiting = new Map<number, RankStep>();

  constructor(ranks: readonly ChildProcess[]) {
    this.#ranks = ranks;
  }

  add(rank: number, step: RankStep): void {
    if (step.step !== this.steps.length) throw new Error(`rank ${rank} is at step ${step.step}, and the others at ${this.steps.length}`);
    this.#waiting.set(rank, step);
    if (this.#waiting.size < this.#ranks.length) return;
    const parts = this.#ranks.map((_, i) => this.#waiting.get(i)!);
    this.#waiting = new Map();
    // Rank r of W has the positions r, r + W, r + 2 W, … of the global order.
    this.steps.push(parts[0]!.keys.flatMap((_, row) => parts.map(({ keys }) => keys[row]!)));
    const mean = parts[0]!.gradient.map((_, i) => parts.reduce((sum, { gradient }) => sum + gradient[i]!, 0) / parts.length);
    for (const one of this.#ranks) one.send(mean);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    }),
  );
  return servers.map((server) => {
    const { port } = server.address() as { port: number };
    server.close();
    return port;
  });
}

async function train(ranks: number, shards: string): Promise<Run> {
  const peers = (await freePorts(ranks)).map((port) => `127.0.0.1:${port}`);
  const children = peers.map((listen, rank) => {
    const env = { ...process.env, RANK: String(rank), WORLD_SIZE: String(ranks) };
    const options = [shards, String(BATCH_SIZE / ranks), listen, peers.join(",")];
    return fork(fileURLToPath(new URL("./rank.ts", import.meta.url)), options, { env });
  });
  const reduce = new AllReduce(children);
  const ends = await Promise.all(children.map((child, rank) => ended(child, (step) => reduce.add(rank, step)))).finally(() => {
    for (const child of children) child.kill();
  });
  return { steps: reduce.steps, weights: ends[0]!.weights, ends };
}

function ended(child: ChildProcess, onStep: (step: RankStep) => void): Promise<RankEnd> {
  return new Promise((resolve, reject) => {
    let end: RankEnd | undefined;
    child.on("message", (message: RankStep | RankEnd) => {
      if ("weights" in message) end = message;
      else onStep(message);
    });
    child.once("error", reject);
    child.once("exit", (code) => (end !== undefined && code === 0 ? resolve(end) : reject(new Error(`a rank ended with ${code}`))));
  });
}

/** Points on either side of the line x + 2y = 1. */
function samples(count: number): WebSample[] {
  return Array.from({ length: count }, (_, i): WebSample => {
    const point = new Float32Array([Math.sin(i * 12.9898), Math.sin(i * 78.233)]);
    const label = point[0]! + 2 * point[1]! > 1 ? 1 : 0;
    return {
      key: String(i).padStart(6, "0"),
      members: { bin: new Uint8Array(point.buffer), cls: String(label) },
    };
  });
}

const folder = await temporaryFolder();
try {
  await writeShards(folder.path, samples(1024), 32);
  const together = await train(RANKS, folder.path);
  for (const [rank, { rows, peerBytes }] of together.ends.entries())
    console.log(`rank ${rank}: ${rows} rows in ${together.steps.length} steps, ${peerBytes > 0 ? "some" : "none"} of them from the other`);
  const alone = await train(1, folder.path);
  const same = JSON.stringify(together.steps) === JSON.stringify(alone.steps);
  console.log(same ? "both ranks in step, in the global order of one" : "THE ORDER DIFFERS");
  const apart = Math.max(...together.weights.map((weight, i) => Math.abs(weight - alone.weights[i]!)));
  console.log(apart < 1e-6 ? "two ranks and one come to the same model" : `THE MODELS DIFFER by ${apart}`);
} finally {
  await folder.remove();
}
