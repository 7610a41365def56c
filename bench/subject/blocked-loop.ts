/** A loop over an epoch without a cache, whose step may keep the main thread busy, as `session.run` does; or not. */
import { openMillrace } from "../../src/index.js";
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
const options = { batchSize: given.batchSize, shuffle: { seed: 1 } };

/** Busy, not asleep: no callback, timer or message is served. Returns the milliseconds it took. */
function block(milliseconds: number): number {
  const begin = performance.now();
  while (performance.now() - begin < milliseconds);
  return milliseconds === 0 ? 0 : performance.now() - begin;
}

const tally = new Tally();
let blockedMs = 0;
// Connections and compiled code are there before the clock starts.
for await (const batch of dataset.loader({ ...options, stepsPerEpoch: 2 }).epoch(0)) void batch;
const { wallSeconds } = await timed(async () => {
  for await (const batch of dataset.loader(options).epoch(0)) {
    const { values, offsets } = batch.columns.record;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
    blockedMs += block(given.stepMs);
  }
});
await mill.close();
const { samples, bytes, firstWords } = tally;
report({
  streamed: { samples, bytes, firstWords, gigabytesPerSecond: bytes / 1e9 / wallSeconds, blockedShare: blockedMs / 1000 / wallSeconds },
});
