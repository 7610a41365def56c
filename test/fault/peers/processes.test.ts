/** Nodes as processes of their own, one of which is killed, frozen or lies in the midst of an epoch; and all of which are restarted. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { randomBytes, tfrecordShard } from "../../support/datasets/index.js";
import { type Origin, startOrigin } from "../../support/origin/index.js";
import { type ClusterOptions, flaws, type Mishap, ProcessCluster } from "../../support/peers/process-cluster.js";

const SHARDS = 32;
const PER_SHARD = 48;
const SAMPLE_BYTES = 20_000;
const SAMPLES = SHARDS * PER_SHARD;
const BATCH = 16;
const NODES = 3;
const STEPS = SAMPLES / NODES / BATCH;
/** Of each step, milliseconds: an epoch is under way long enough for something to happen in its midst. */
const COMPUTE_MS = 60;

let origin: Origin;
let folder: string;
let bytes = 0;
let cluster: ProcessCluster | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-processes-"));
  origin = await startOrigin({ buckets: ["data"] });
  const samples = Array.from({ length: SAMPLES }, (_, i) => randomBytes(SAMPLE_BYTES, i));
  await writeFile(
    join(folder, "checksums"),
    Uint32Array.from(samples, (sample) => crc32c(sample)),
  );
  for (let s = 0; s < SHARDS; s++) {
    const shard = tfrecordShard(samples.slice(s * PER_SHARD, (s + 1) * PER_SHARD));
    bytes += shard.bytes.length;
    const name = `set/shard-${String(s).padStart(5, "0")}`;
    await origin.put("data", `${name}.tfrecord`, shard.bytes);
    await origin.put("data", `${name}.idx`, Buffer.from(shard.index));
  }
}, 60_000);
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true });
});
afterEach(async () => {
  await cluster?.end();
  cluster = undefined;
});

async function start(options: Partial<ClusterOptions> = {}): Promise<ProcessCluster> {
  cluster = await ProcessCluster.start({
    origin,
    source: "s3://data/set",
    checksums: join(folder, "checksums"),
    nodes: NODES,
    reading: "ranks",
    memory: 2 * bytes,
    blockSize: "64KiB",
    // What is fetched already when a node fails would hide it.
    loader: { batchSize: BATCH, shuffle: { seed: 3, window: "2MiB" }, lanes: 6, readAhead: "256KiB" },
    peers: true,
    // The tests count bytes: on a machine that stands still for a while no peer is to pass for dead.
    timeout: "20s",
    ...options,
  });
  return cluster;
}

const NONE = { wrong: 0, missing: 0, twice: 0 };

it.each<Exclude<Mishap, "restart">>(["kill", "freeze", "corrupt"])(
  "%s: the others get every sample once and right, for no more of the origin's bytes than the node's share",
  async (kind) => {
    const nodes = await start(kind === "freeze" ? { timeout: "3s" } : { liar: kind === "corrupt" });
    expect(flaws(await nodes.epoch(0), SAMPLES)).toEqual(NONE);
    const owned = (await nodes.nodes.at(-1)!.stats()).memory!.heldBytes as number;
    await origin.reset();
    const reports = await nodes.mishap(kind, 1, COMPUTE_MS, Math.floor(STEPS / 6));
    expect(flaws(reports, (SAMPLES / NODES) * reports.length)).toEqual(NONE);
    expect(reports).toHaveLength(kind === "corrupt" ? NODES : NODES - 1);
    expect(await nodes.originBytes()).toBeLessThanOrEqual(owned);
    const seen = await Promise.all(nodes.nodes.map((node) => node.stats()));
    const fallbacks = (name: string) => seen.reduce((sum, { peers }) => sum + (peers![name] as number), 0);
    if (kind === "corrupt") {
      expect(nodes.proxy!.corrupted).toBeGreaterThan(0);
      expect(fallbacks("fallbacksCorrupt")).toBeGreaterThan(0);
    } else expect(fallbacks("fallbacksUnreachable") + fallbacks("fallbacksSlow")).toBeGreaterThan(0);
    await nodes.close();
  },
  120_000,
);

it("a rolling restart of all nodes brings no error to a loop, and ends with all of them together again", async () => {
  const nodes = await start();
  await nodes.epoch(0);
  const reports = await nodes.rollingRestart(1, 5 * COMPUTE_MS);
  expect(flaws(reports, SAMPLES)).toEqual(NONE);
  expect(reports.filter(({ ended }) => !ended).length).toBeGreaterThan(0);
  // They keep no id, and so came back as others: these are found at the old ones' addresses.
  await nodes.epoch(2);
  await Promise.all(nodes.nodes.map((node) => node.members(NODES)));
  await nodes.close();
}, 120_000);

it("two groups that see different lists read right bytes, and less than without peers", async () => {
  const lists = [
    [0, 1, 2],
    [0, 1, 2],
    [1, 2, 3],
    [1, 2, 3],
  ];
  const nodes = await start({ nodes: 4, reading: "everything", lists });
  for (const report of await nodes.epoch(0)) expect(flaws([report], SAMPLES)).toEqual(NONE);
  expect(await nodes.originBytes()).toBeLessThan(4 * bytes);
  await nodes.close();
}, 120_000);
