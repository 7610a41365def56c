/** A loop over an epoch without a cache, whose step may keep the main thread busy, as `session.run` does; or not. */
import { openMillrace } from "../../src/index.js";
import { block } from "../lib/emulated-loop.js";
import { parameters, report, Tally, timed } from "../lib/subject.js";

export interface BlockedLoopParameters {
  /** Of the origin; its reads are anonymous. */
  readonly endpoint: string;
  readonly source: string;
  readonly batchSize: number;
  readonly engine: "worker" | "inline";
  /** How long each step blocks main, milliseconds. */
  readonly stepMs: number;
}

const given = parameters<BlockedLoopParameters>();
const mill = await openMillrace({
  s3: { endpoint: given.endpoint, anonymous: true, forcePathStyle: true },
  cache: { memory: 0 },
  engine: given.engine,
});
const dataset = await mill.dataset(given.source, { fields: { record: "bytes" } });
// Small windows, so that the first batch comes soon: steps that begin late end late, whoever serves them.
const options = { batchSize: given.batchSize, shuffle: { seed: 1, window: "64MiB" } };

const tally = new Tally();
let blockedMs = 0;
// Connections and compiled code are there before the clock starts.
for await (const batch of dataset.loader({ ...options, stepsPerEpoch: 2 }).epoch(0)) void batch;
const { wallSeconds } = await timed(async () => {
  for await (const batch of dataset.loader(options).epoch(0)) {
    const { values, offsets } = batch.columns.record;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
    const begin = performance.now();
    block(given.stepMs);
    blockedMs += performance.now() - begin;
  }
});
await mill.close();
const { samples, bytes, firstWords } = tally;
report({
  streamed: { samples, bytes, firstWords, gigabytesPerSecond: bytes / 1e9 / wallSeconds, blockedShare: blockedMs / 1000 / wallSeconds },
});
