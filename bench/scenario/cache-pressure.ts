/**
 * A dataset of twice the cache, from an origin that carries half of what the loop eats: only who finds half of the data in the cache keeps
 * the accelerator busy. Beside each way to fill the cache stands what theory allows it, for one read a sample an epoch in a new order:
 * the hit rate of `pin` at cache fraction f is f (Belady's optimum), that of `lru` f + (1 − f) ln(1 − f); AU is the origin's bandwidth ÷
 * what the misses ask of it.
 */
import { startOrigin } from "../../test/support/origin/index.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { RESNET50, uploadWorkload } from "../lib/workloads.js";
import type { EmulationParameters } from "../subject/emulated-training.js";

const BUCKET = "bench";
const STEPS = 60;
const CACHE_SHARE = 1 / 2;
/** The origin's bandwidth ÷ what the loop eats. */
const BANDWIDTH_SHARE = 1 / 2;
const FIRST_BYTE_MS = 10;
/**
 * The data is small for the bench to be short. What is otherwise large beside it is made small with it, or it would serve as a second cache:
 * the open windows and the read-ahead, as parts of the data; and blocks, of which the chunks of so few samples would be parts.
 */
const WINDOW_SHARE = 1 / 10;
const READ_AHEAD_SHARE = 1 / 16;
const BLOCK_SIZE = "128KiB";
/** Epochs that are measured, after one that fills the cache. The loop leaves in the epoch after them, so that read-ahead into it goes on to the end. */
const EPOCHS = 2;
const FILLING = "filling";
const FILLED = "filled";

interface Policy {
  readonly name: "no cache" | "lru" | "pin";
  readonly admission: "pin" | "lru";
  readonly cacheShare: number;
  readonly hitRate: number;
}
const POLICIES: readonly Policy[] = [
  { name: "no cache", admission: "pin", cacheShare: 0, hitRate: 0 },
  { name: "lru", admission: "lru", cacheShare: CACHE_SHARE, hitRate: CACHE_SHARE + (1 - CACHE_SHARE) * Math.log(1 - CACHE_SHARE) },
  { name: "pin", admission: "pin", cacheShare: CACHE_SHARE, hitRate: CACHE_SHARE },
];
const auCeiling = (hitRate: number): number => Math.min(1, BANDWIDTH_SHARE / (1 - hitRate));

async function prepare({ smoke, long }: PrepareOptions): Promise<PreparedScenario> {
  const origin = await startOrigin({ buckets: [BUCKET] });
  try {
    const steps = smoke ? 6 : STEPS;
    const epochs = long ? 10 : EPOCHS;
    const stepMs = smoke ? 1 : RESNET50.stepMs;
    const { prefix, field, batchSize, bytesPerSecond, all } = await uploadWorkload(origin, BUCKET, RESNET50, steps);
    const { endpoint, region, credentials } = origin;
    const subjects = POLICIES.map(({ name, admission, cacheShare, hitRate }): Subject => {
      const parameters: EmulationParameters = {
        endpoint,
        region,
        credentials,
        source: `s3://${BUCKET}/${prefix}`,
        field,
        batchSize,
        epochs: epochs + 2,
        loop: "idle",
        stretches: [
          { name: FILLING, steps, stepMs },
          { name: FILLED, steps: epochs * steps, stepMs, known: { hitRateCeiling: hitRate, auCeiling: auCeiling(hitRate) } },
        ],
        memory: Math.floor(all.bytes * cacheShare),
        admission,
        blockSize: BLOCK_SIZE,
        // Of the few samples of smoke mode each lane must have room for one.
        ...(!smoke && { window: Math.floor(all.bytes * WINDOW_SHARE), readAhead: Math.floor(all.bytes * READ_AHEAD_SHARE) }),
      };
      const times = epochs + 1;
      const run = { samples: all.samples * times, bytes: all.bytes * times, firstWords: all.firstWords! * times };
      return {
        name,
        script: new URL("../subject/emulated-training.ts", import.meta.url),
        parameters: { ...parameters },
        expectedIn: { run },
      };
    });
    const shape = smoke ? {} : { firstByteMs: FIRST_BYTE_MS, totalBytesPerSecond: bytesPerSecond * BANDWIDTH_SHARE };
    await origin.shape(shape);
    return {
      subjects,
      reset: () => origin.reset(),
      observe: async ({ expectedIn }) => {
        const { requests, bytesSent, cpuSeconds } = await origin.stats();
        return { requests, sentShare: bytesSent / expectedIn!.run!.bytes!, cpuSeconds };
      },
      close: () => origin.close(),
    };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "cache-pressure",
  title: "A dataset of twice the cache, from an origin of half the bandwidth that the loop needs",
  rounds: 2,
  columns: [
    { figure: "hitRate", title: "hit rate", digits: 3, chart: true },
    { figure: "hitRateCeiling", title: "by theory", digits: 3 },
    { figure: "au", title: "AU", digits: 3, chart: true },
    { figure: "auCeiling", title: "by theory", digits: 3 },
    { figure: "nominalAu", title: "nominal AU", digits: 3 },
    { figure: "strictAu", title: "AU with first steps", digits: 3 },
    { figure: "longestWaitMs", title: "longest wait, ms", digits: 1 },
    { figure: "sentShare", title: "origin bytes ÷ bytes read", digits: 3 },
    { figure: "requests", title: "requests", digits: 0 },
    { figure: "cpuSeconds", title: "CPU s", digits: 1 },
  ],
  bars: [
    { name: "pin: hit rate ÷ part of the data in the cache", atLeast: 0.9, value: (of) => of("pin", FILLED, "hitRate") / CACHE_SHARE },
    { name: "pin: AU (ceiling 1)", atLeast: 0.93, value: (of) => of("pin", FILLED, "au") },
  ],
  prepare,
};
