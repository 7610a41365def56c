/**
 * An origin that gives 0.4 of what the loop demands: TFRecord shards streamed each epoch anew (the AWS SDK, 8 ranges ahead) beside
 * Millrace, whose first epoch can do no better, and whose later ones come from its memory tier.
 *
 * What bounds the first epoch: the line is full from the first byte to the last, and then the loop uses up the open windows and the next ones
 * (64 MiB × 1.25) at its own pace, which takes 0.3 s beside the 4.0 s of the line. That is 0.93 of the cap.
 */
import { startOrigin } from "../../test/support/origin/index.js";
import { type ShardSet, uploadShards } from "../lib/origin-shards.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { MillraceLoopParameters } from "../subject/millrace-loop.js";
import type { SdkLoopParameters } from "../subject/sdk-loop.js";

const BUCKET = "bench";
const FIRST_BYTE_MS = 30;
const SAMPLE_BYTES = 110_000;
const BATCH_SIZE = 64;
/** Of the emulated step, milliseconds: the loop demands 282 MB/s. */
const COMPUTE_MS = 25;
const CAP_OF_DEMAND = 0.4;
const CAP_BYTES_PER_SECOND = (CAP_OF_DEMAND * BATCH_SIZE * SAMPLE_BYTES) / (COMPUTE_MS / 1000);
const FULL: ShardSet = { shards: 8, samplesPerShard: 512, sampleBytes: SAMPLE_BYTES };
const SMOKE: ShardSet = { shards: 2, samplesPerShard: 128, sampleBytes: SAMPLE_BYTES };

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const shape = smoke ? {} : { firstByteMs: FIRST_BYTE_MS, totalBytesPerSecond: CAP_BYTES_PER_SECOND };
  const origin = await startOrigin({ shape, anonymousRead: true, buckets: [BUCKET] });
  try {
    const { shards, all } = await uploadShards(origin, BUCKET, "data", smoke ? SMOKE : FULL);
    const sdk: SdkLoopParameters = {
      origin,
      bucket: BUCKET,
      shards,
      rangeBytes: 8 * 2 ** 20,
      rangesAhead: 8,
      headEachRead: false,
      batchSize: BATCH_SIZE,
      sampleBytes: SAMPLE_BYTES,
      computeMs: COMPUTE_MS,
      capBytesPerSecond: CAP_BYTES_PER_SECOND,
      steps: all.samples! / BATCH_SIZE,
      epochs: ["epoch 1", "epoch 2"],
    };
    const millrace: MillraceLoopParameters = {
      origin,
      source: `s3://${BUCKET}/data`,
      computeMs: COMPUTE_MS,
      capBytesPerSecond: CAP_BYTES_PER_SECOND,
      epochs: ["epoch 1", "epoch 2", "epoch 3"],
      mill: { cache: { memory: "1GiB" } },
      // An eighth of the data: the first batches of a window as large as the data would ask for all of it.
      loader: { batchSize: BATCH_SIZE, shuffle: { seed: 1, window: "64MiB" } },
    };
    const subjects: Subject[] = [
      { name: "streamed", script: new URL("../subject/sdk-loop.ts", import.meta.url), parameters: { ...sdk }, expected: all },
      { name: "millrace", script: new URL("../subject/millrace-loop.ts", import.meta.url), parameters: { ...millrace }, expected: all },
    ];
    return {
      subjects,
      reset: () => origin.reset(),
      observe: async () => {
        const { bytesSent, cpuSeconds } = await origin.stats();
        return { originMegabytes: bytesSent / 1e6, cpuSeconds };
      },
      close: () => origin.close(),
    };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "bandwidth-cap",
  title: `TFRecord from an origin of ${CAP_OF_DEMAND} × the loop's demand (${CAP_BYTES_PER_SECOND / 1e6} MB/s), step ${COMPUTE_MS} ms`,
  rounds: 3,
  columns: [
    { figure: "au", title: "AU", digits: 3, chart: true },
    { figure: "nominalAu", title: "nominal AU", digits: 3 },
    { figure: "firstWaitMs", title: "first batch, ms", digits: 0 },
    { figure: "longestWaitMs", title: "longest wait after, ms", digits: 0 },
    { figure: "megabytesPerSecond", title: "MB/s", digits: 1 },
    { figure: "capShare", title: "bytes/s ÷ the cap", digits: 3 },
    { figure: "originMegabytes", title: "MB from the origin", digits: 0 },
    { figure: "cpuSeconds", title: "CPU s", digits: 2 },
  ],
  bars: [{ name: "epoch 2: AU", atLeast: 0.95, value: (of) => of("millrace", "epoch 2", "au") }],
  prepare,
};
