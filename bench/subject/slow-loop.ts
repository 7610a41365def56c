/** A loop that is much slower than the origin, over one epoch, and the most memory that its process ever had. */
import { setTimeout as sleep } from "node:timers/promises";
import { openMillrace, type S3Options } from "../../src/index.js";
import { processMemory } from "../lib/process-memory.js";
import { parameters, report, Tally } from "../lib/subject.js";
import decode, { IMAGE_BYTES } from "./slow-loop-decoder.js";

export interface SlowLoopParameters {
  readonly s3: S3Options;
  readonly source: string;
  readonly batchSize: number;
  /** Of the loop, between two batches, milliseconds. */
  readonly stepMs: number;
  readonly workers: number;
  /** Budgets, bytes. */
  readonly memory: number;
  readonly metadata: number;
  readonly window: number;
  readonly readAhead: number;
}

/** Batches that the queue holds, as docs/configuration.md says: what fits into 64 MiB, 2 to 8. */
const QUEUE_BYTES = 64 * 2 ** 20;
const queueBatches = (batchBytes: number): number => Math.max(2, Math.min(8, Math.floor(QUEUE_BYTES / batchBytes)));

const given = parameters<SlowLoopParameters>();
const imported = processMemory("VmRSS");
const { memory, metadata, window, readAhead } = given;
const mill = await openMillrace({ s3: given.s3, cache: { memory, metadata: { memory: metadata } } });
const opened = processMemory("VmRSS");
const dataset = await mill.dataset(given.source, { fields: { record: "bytes" } });
const { batchSize, workers } = given;
const loader = dataset.loader({ batchSize, shuffle: { seed: 1, window }, readAhead, decode, workers });
const tally = new Tally();
for await (const batch of loader.epoch(0)) {
  const { data } = batch.columns.image;
  for (let row = 0; row < batch.size; row++) tally.add(data, row * IMAGE_BYTES, (row + 1) * IMAGE_BYTES);
  await sleep(given.stepMs);
}
const batchBytes = batchSize * IMAGE_BYTES;
// In the queue; one in each worker; and one that the loop has.
const batches = (queueBatches(batchBytes) + workers + 1) * batchBytes;
const budget = memory + metadata + window + readAhead + batches;
const peak = processMemory("VmHWM");
const { segmentBytes, workingPeakBytes, heldBytes } = mill.stats().memory as Record<string, number>;
await mill.close();
// Less memory in use, where `overhead` is less what may be used.
const beside = peak - heldBytes! - workingPeakBytes! - batches;
const megabytes = {
  imported,
  opened,
  segments: segmentBytes!,
  workingPeak: workingPeakBytes!,
  tier: heldBytes!,
  batches,
  budget,
  peak,
  overhead: peak - budget,
  beside,
};
report({
  epoch: {
    ...tally,
    ...Object.fromEntries(Object.entries(megabytes).map(([name, bytes]) => [`${name}Megabytes`, bytes / 1e6])),
  },
});
