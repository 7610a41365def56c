/**
 * The ceilings: what cannot be left out, written by hand for this one case, on the threads that Millrace has: one that reads, checks and copies
 * (`lib/ceiling/engine.ts`), and this one, which gets the batches by transfer. They know the shards' sizes and the samples' length
 * beforehand, read in order, and have no order, retry or cancel. Which one is measured, and in which phases, the parameters say.
 */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import type { CeilingRequest, FromEngine } from "../lib/ceiling/engine.js";
import type { Shard, ShardFormat } from "../lib/data.js";
import type { Figures } from "../lib/scenario.js";
import { measurePasses, parameters, type Read, report, Tally } from "../lib/subject.js";
import { tsWorker } from "../lib/thread-boot.js";

/** `threaded`: sockets in a thread of their own. `memory`: no reading; all data lies there. */
export type CeilingSource = "socket" | "threaded" | "undici" | "file" | "memory";
/** By default each batch is memory of its own, which the loop may keep; `reused`: the loop gives it back. */
export type BatchMemory = "fresh" | "reused";
export interface CeilingPhase {
  readonly name: string;
  readonly source: CeilingSource;
  /** `bare`: no checksums, no copy, nothing kept. */
  readonly work: "bare" | "batches";
  readonly memory: BatchMemory;
}
export interface CeilingParameters {
  readonly endpoint: string;
  /** Where the server has its files. */
  readonly root: string;
  readonly format: ShardFormat;
  readonly shards: readonly Shard[];
  readonly sampleBytes: number;
  readonly batchSize: number;
  /** As much of what comes from the wire is kept, each range in its place, as an epoch that fills a cache must; then the places are used again. */
  readonly cacheBytes: number;
  readonly passes: number;
  readonly phases: readonly CeilingPhase[];
}

const given = parameters<CeilingParameters>();

/** One pass: the batches that the engine sends, looked at as a training step would. */
function pass(port: MessagePort, reuses: boolean): Promise<Read> {
  const tally = new Tally();
  return new Promise((resolve) => {
    port.on("message", (message: FromEngine) => {
      if ("read" in message) {
        port.removeAllListeners("message");
        resolve(message.read ?? tally);
        return;
      }
      const batch = new Uint8Array(message.batch);
      for (let row = 0; row < message.rows; row++) tally.add(batch, row * given.sampleBytes, (row + 1) * given.sampleBytes);
      if (reuses) port.postMessage(message.batch, [message.batch]);
    });
    port.postMessage("pass");
  });
}

async function measurePhase(phase: CeilingPhase): Promise<Figures> {
  const { port1, port2 } = new MessageChannel();
  const workerData: CeilingRequest = { given, phase, port: port2 };
  const engine = tsWorker(new URL("../lib/ceiling/engine.ts", import.meta.url), { workerData, transferList: [port2] });
  const failed = new Promise<never>((_, reject) => engine.once("error", reject));
  const run = () => Promise.race([pass(port1, phase.memory === "reused"), failed]);
  await run();
  const figures = await measurePasses(given.passes, run);
  port1.close();
  await engine.terminate();
  return figures;
}

const phases: Record<string, Figures> = {};
for (const phase of given.phases) phases[phase.name] = await measurePhase(phase);
report(phases);
