/**
 * What each part brings, for an emulated ResNet-50 on an H100 (40 samples of 114,660 bytes every 22.4 ms: 205 MB/s) that reads TFRecord
 * shards from an origin of 30 ms to the first byte, 90 MB/s a connection and 0.7 of the loop's demand in all.
 *
 * It starts from a mount without caches: in the order of the shards, 128 KiB a read, a HEAD before each, one request at a time, nothing
 * ahead. No option makes Millrace so slow, so that this and the next line, without the HEADs, are emulated by hand. From then on it is
 * Millrace, shuffling, with options that hold back what the later lines add one by one:
 *
 * | line | added | Millrace's options |
 * |---|---|---|
 * | block size | blocks of 1 MiB, neighbours in one request | `cache.memory` 0, `limits.concurrency` 1, `readAhead` 0 |
 * | concurrency | the requests of a batch at once | `cache.memory` 0, `readAhead` 0 |
 * | read-ahead | fetching before the loop asks | `cache.memory` 0 |
 * | pin | the second epoch, from the memory tier | the cache holds the data |
 *
 * Even with `readAhead` 0 a few finished batches wait in the queue: no option turns that off. The window of the shuffle is a quarter of the
 * data, so that the first batches do not ask for all of it.
 */
import { startOrigin } from "../../test/support/origin/index.js";
import { type ShardSet, uploadShards } from "../lib/origin-shards.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { RESNET50 } from "../lib/workloads.js";
import type { MillraceLoopParameters } from "../subject/millrace-loop.js";
import type { SdkLoopParameters } from "../subject/sdk-loop.js";
import type { SyntheticLoopParameters } from "../subject/synthetic-loop.js";

const BUCKET = "bench";
const { sampleBytes: SAMPLE_BYTES, batchSize: BATCH_SIZE, stepMs: COMPUTE_MS } = RESNET50;
const SHAPE = {
  firstByteMs: 30,
  connectionBytesPerSecond: 90e6,
  totalBytesPerSecond: (0.7 * BATCH_SIZE * SAMPLE_BYTES) / (COMPUTE_MS / 1000),
};
const FULL: ShardSet = { shards: 6, samplesPerShard: 400, sampleBytes: SAMPLE_BYTES };
const SMOKE: ShardSet = { shards: 2, samplesPerShard: 60, sampleBytes: SAMPLE_BYTES };
/** A step of the mount takes two seconds, and all its steps are alike. */
const MOUNT_STEPS = { full: 5, smoke: 2 };
const MOUNT_READ_BYTES = 128 * 1024;

const NAMES = {
  start: "mount: HEAD a read, 128 KiB, one at a time",
  metadata: "mount: + metadata cache",
  blocks: "millrace: + block size",
  concurrency: "millrace: + concurrency",
  readAhead: "millrace: + read-ahead",
  pin: "millrace: + pin",
  synthetic: "synthetic",
};
const EPOCH = "epoch";

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const origin = await startOrigin({ shape: smoke ? {} : SHAPE, anonymousRead: true, buckets: [BUCKET] });
  try {
    const set = smoke ? SMOKE : FULL;
    const steps = (set.shards * set.samplesPerShard) / BATCH_SIZE;
    const mountSteps = smoke ? MOUNT_STEPS.smoke : MOUNT_STEPS.full;
    const { shards, all, first } = await uploadShards(origin, BUCKET, "data", set, mountSteps * BATCH_SIZE);
    const batches = { batchSize: BATCH_SIZE, sampleBytes: SAMPLE_BYTES, computeMs: COMPUTE_MS };
    const mount = (name: string, headEachRead: boolean): Subject => {
      const reads = { rangeBytes: MOUNT_READ_BYTES, rangesAhead: 0, headEachRead };
      const parameters: SdkLoopParameters = { origin, bucket: BUCKET, shards, ...reads, ...batches, steps: mountSteps, epochs: [EPOCH] };
      return {
        name,
        script: new URL("../subject/sdk-loop.ts", import.meta.url),
        parameters: { ...parameters },
        expected: first,
        rounds: 1,
      };
    };
    const millrace = (name: string, mill: MillraceLoopParameters["mill"], readAhead: "auto" | 0, epochs: readonly string[]): Subject => {
      const loader = { batchSize: BATCH_SIZE, shuffle: { seed: 1, window: "64MiB" }, readAhead };
      const parameters: MillraceLoopParameters = { origin, source: `s3://${BUCKET}/data`, computeMs: COMPUTE_MS, epochs, mill, loader };
      return { name, script: new URL("../subject/millrace-loop.ts", import.meta.url), parameters: { ...parameters }, expected: all };
    };
    const synthetic: SyntheticLoopParameters = { ...batches, steps };
    const noCache = { cache: { memory: 0 } };
    const subjects = [
      mount(NAMES.start, true),
      mount(NAMES.metadata, false),
      // It takes a quarter of a minute.
      { ...millrace(NAMES.blocks, { ...noCache, limits: { concurrency: 1 } }, 0, [EPOCH]), rounds: 1 },
      millrace(NAMES.concurrency, noCache, 0, [EPOCH]),
      millrace(NAMES.readAhead, noCache, "auto", [EPOCH]),
      millrace(NAMES.pin, { cache: { memory: "512MiB" } }, "auto", ["", EPOCH]),
      {
        name: NAMES.synthetic,
        script: new URL("../subject/synthetic-loop.ts", import.meta.url),
        parameters: { ...synthetic },
        expected: { samples: all.samples!, bytes: all.bytes! },
      },
    ];
    return {
      subjects,
      reset: () => origin.reset(),
      observe: async () => ({ requests: (await origin.stats()).requests }),
      close: () => origin.close(),
    };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "ablation",
  title: "Emulated ResNet-50, each part added to the one before",
  rounds: 3,
  columns: [
    { figure: "au", title: "AU", digits: 3, chart: true },
    { figure: "nominalAu", title: "nominal AU", digits: 3 },
    { figure: "strictAu", title: "AU with the first step", digits: 3 },
    { figure: "megabytesPerSecond", title: "MB/s", digits: 1 },
    { figure: "requests", title: "requests", digits: 0 },
  ],
  bars: [
    { name: "start: AU", atMost: 0.3, value: (of) => of(NAMES.start, EPOCH, "au") },
    { name: "end: AU ÷ synthetic", atLeast: 0.985, value: (of) => of(NAMES.pin, EPOCH, "au") / of(NAMES.synthetic, EPOCH, "au") },
  ],
  prepare,
};
