/**
 * Peak memory of a process whose loop is ten times slower than the origin, against the sum of its budgets: the memory tier, the shuffle's
 * windows, the read-ahead, the batches (those of the queue, one in each decode worker, one in
 * the loop) and the metadata cache, all as configured, used or not. What is left over is Node.js, the library's code and what its threads need;
 * `imported` is the process before anything was opened. What decode workers add is told from memory in use instead: the records they work on are blocks
 * on shared memory that the windows' budget has already, but with more workers more of that budget is used (122 MB of 201 without, 159 with four), and
 * beside budgets counted in full, used or not, they would count once more. The subjects are plain JavaScript, as the package is. The larger data does not fit the
 * larger tier, so that all that can be full is full.
 */
import { randomBytes, tfrecordShard } from "../../test/support/datasets/index.js";
import { type Origin, startOrigin } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { plainJs } from "../lib/plain-js.js";
import type { Lookup, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { Tally } from "../lib/subject.js";
import type { SlowLoopParameters } from "../subject/slow-loop.js";

const BUCKET = "bench";
const MIB = 2 ** 20;
const SAMPLE_BYTES = 110_000;
const BATCH_SIZE = 64;
const FULL = { samplesPerShard: 512, small: 4, large: 12 };
const SMOKE = { samplesPerShard: 64, small: 1, large: 2 };
const BYTES_PER_SECOND = 800e6;
const SLOWER = 10;
const WINDOW_BYTES = 128 * MIB;
/** What "auto" begins with; it would grow with the first waits, and differ from run to run. */
const READ_AHEAD_BYTES = 64 * MIB;
const METADATA_BYTES = 4 * MIB;
const TIER_BYTES = { small: 64 * MIB, large: 512 * MIB };

/** One shard under many names: to those who read them they are different objects. Returns what reading each gives. */
async function uploadOften(origin: Origin, samplesPerShard: number, sets: Readonly<Record<string, number>>): Promise<Tally> {
  const tally = new Tally();
  const payloads = Array.from({ length: samplesPerShard }, (_, i) => randomBytes(SAMPLE_BYTES, i));
  for (const payload of payloads) tally.add(payload, 0, payload.length);
  const { bytes, index } = tfrecordShard(payloads);
  for (const [set, shards] of Object.entries(sets))
    for (let shard = 0; shard < shards; shard++) {
      await origin.put(BUCKET, `${set}/${shard}.tfrecord`, bytes);
      await origin.put(BUCKET, `${set}/${shard}.idx`, Buffer.from(index));
    }
  return tally;
}

const subjectName = (tier: keyof typeof TIER_BYTES, workers: number) => `${workers} workers, tier of ${TIER_BYTES[tier] / MIB} MiB`;
const WORKERS = [0, 1, 2, 4];

/** By least squares: batches that the loop has dropped and V8 has not collected differ by 20 MB between two runs, whatever the workers. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const spread = points.reduce((sum, [x]) => sum + (x - mean) ** 2, 0);
  return points.reduce((sum, [x, y]) => sum + (x - mean) * y, 0) / spread;
}

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const origin = await startOrigin({ buckets: [BUCKET] });
  const js = await plainJs([
    "src",
    "bench/lib/process-memory.ts",
    "bench/lib/subject.ts",
    "bench/subject/slow-loop.ts",
    "bench/subject/slow-loop-decoder.ts",
  ]);
  const close = async () => {
    await Promise.all([origin.close(), js.close()]);
  };
  try {
    const { samplesPerShard, small, large } = smoke ? SMOKE : FULL;
    const shards = { small, large };
    const one = await uploadOften(origin, samplesPerShard, shards);
    const subject = (tier: keyof typeof TIER_BYTES, workers: number): Subject => {
      const parameters: SlowLoopParameters = {
        s3: s3Options(origin),
        source: `s3://${BUCKET}/${tier}`,
        batchSize: BATCH_SIZE,
        stepMs: smoke ? 1 : ((BATCH_SIZE * SAMPLE_BYTES) / (BYTES_PER_SECOND / SLOWER)) * 1000,
        workers,
        memory: TIER_BYTES[tier],
        metadata: METADATA_BYTES,
        window: WINDOW_BYTES,
        readAhead: READ_AHEAD_BYTES,
      };
      const times = shards[tier];
      return {
        name: subjectName(tier, workers),
        script: js.url("bench/subject/slow-loop.ts"),
        parameters: { ...parameters },
        expected: { samples: one.samples * times, bytes: one.bytes * times, firstWords: one.firstWords * times },
      };
    };
    await origin.shape(smoke ? {} : { totalBytesPerSecond: BYTES_PER_SECOND });
    return { subjects: [...WORKERS.map((workers) => subject("small", workers)), subject("large", 0)], reset: () => origin.reset(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "memory",
  title: `Peak memory under a loop of ${BYTES_PER_SECOND / SLOWER / 1e6} MB/s on an origin of ${BYTES_PER_SECOND / 1e6} MB/s, budgets as configured`,
  rounds: 2,
  columns: [
    { figure: "importedMegabytes", title: "imported, MB", digits: 0 },
    { figure: "openedMegabytes", title: "mill opened, MB", digits: 0 },
    { figure: "tierMegabytes", title: "in the tier, MB", digits: 0 },
    { figure: "workingPeakMegabytes", title: "other blocks at most, MB", digits: 0 },
    { figure: "segmentsMegabytes", title: "memory for blocks, MB", digits: 0 },
    { figure: "batchesMegabytes", title: "batches, MB", digits: 0 },
    { figure: "budgetMegabytes", title: "budgets, MB", digits: 0 },
    { figure: "peakMegabytes", title: "peak, MB", digits: 0 },
    { figure: "overheadMegabytes", title: "peak − budgets, MB", digits: 0 },
  ],
  bars: [
    ...(["small", "large"] as const).map((tier) => ({
      name: `peak − budgets, MB: ${subjectName(tier, 0)}`,
      atMost: 150,
      value: (of: Lookup) => of(subjectName(tier, 0), "epoch", "overheadMegabytes"),
    })),
    {
      name: "each decode worker adds, MB",
      atMost: 20,
      value: (of) => slope(WORKERS.map((workers) => [workers, of(subjectName("small", workers), "epoch", "besideMegabytes")])),
    },
  ],
  prepare,
};
