/**
 * The first epochs of a TFRecord dataset of 110 KB records: cold, with the record index beside the shards, and warm.
 * Beside Millrace stand what a newcomer writes, a loop of SDK calls over single objects, and a hand-written reader that
 * does no more than must be done: the ceiling.
 */
import { randomBytes, tfrecordShard } from "../../test/support/datasets/index.js";
import { startOrigin } from "../../test/support/origin/index.js";
import type { PreparedScenario, Scenario, Subject } from "../lib/scenario.js";
import { Tally } from "../lib/subject.js";

/** A photograph of 500 × 375 as JPEG is about this long. */
const SAMPLE_BYTES = 110_000;
const BATCH_SIZE = 64;
const BUCKET = "bench";
/** The loop of SDK calls is so slow that a part of the samples gives its rate. */
const LOOP_SHARDS = 4;

interface Size {
  readonly shards: number;
  readonly samplesPerShard: number;
}
const FULL: Size = { shards: 16, samplesPerShard: 640 };
const SMOKE: Size = { shards: 4, samplesPerShard: 48 };
/** Read before the clock starts, so that no subject is timed while its code is being compiled. */
const WARM_UP: Size = { shards: 2, samplesPerShard: 640 };
const SMOKE_WARM_UP: Size = { shards: 2, samplesPerShard: 16 };

type Origin = Awaited<ReturnType<typeof startOrigin>>;
export interface ShardParameters {
  readonly path: string;
  readonly bytes: number;
  readonly samples: number;
}

/** Uploads shards and their index files, and the first of them as single objects; returns what reading all of it, and those, gives. */
async function upload(origin: Origin, prefix: string, { shards, samplesPerShard }: Size, objectShards: number) {
  const [all, loop] = [new Tally(), new Tally()];
  const uploaded: ShardParameters[] = [];
  const keys: string[] = [];
  for (let s = 0; s < shards; s++) {
    const payloads = Array.from({ length: samplesPerShard }, (_, i) =>
      randomBytes(SAMPLE_BYTES, prefix.length * 1_000_000 + s * samplesPerShard + i),
    );
    const { bytes, index } = tfrecordShard(payloads);
    const name = `${prefix}/shard-${String(s).padStart(5, "0")}`;
    await origin.put(BUCKET, `${name}.tfrecord`, bytes);
    await origin.put(BUCKET, `${name}.idx`, Buffer.from(index));
    uploaded.push({ path: `/${BUCKET}/${name}.tfrecord`, bytes: bytes.length, samples: samplesPerShard });
    for (const [i, payload] of payloads.entries()) {
      all.add(payload, 0, payload.length);
      if (s >= objectShards) continue;
      loop.add(payload, 0, payload.length);
      keys.push(`objects-${name}/${i}`);
      await origin.put(BUCKET, keys.at(-1)!, payload);
    }
  }
  return { uploaded, keys, all: { ...all }, loop: { ...loop } };
}

async function prepare({ smoke }: { readonly smoke: boolean }): Promise<PreparedScenario> {
  const origin = await startOrigin({ anonymousRead: true, buckets: [BUCKET] });
  try {
    const data = await upload(origin, "data", smoke ? SMOKE : FULL, LOOP_SHARDS);
    const warmUp = await upload(origin, "warm-up", smoke ? SMOKE_WARM_UP : WARM_UP, 1);
    const { endpoint, region, credentials } = origin;
    const s3 = { endpoint, region, credentials };
    const ceiling = { endpoint, batchSize: BATCH_SIZE, sampleBytes: SAMPLE_BYTES, shards: data.uploaded, warmUp: warmUp.uploaded };
    const loop = { ...s3, bucket: BUCKET, batchSize: BATCH_SIZE, sampleBytes: SAMPLE_BYTES, keys: data.keys, warmUp: warmUp.keys };
    const millrace = { ...s3, bucket: BUCKET, batchSize: BATCH_SIZE, memory: "3GiB", data: "data" };
    const subjects: Subject[] = [
      { name: "millrace", script: new URL("../subject/millrace.ts", import.meta.url), parameters: millrace, expected: data.all },
      { name: "ceiling", script: new URL("../subject/undici-ceiling.ts", import.meta.url), parameters: ceiling, expected: data.all },
      { name: "sdk-loop", script: new URL("../subject/sdk-loop.ts", import.meta.url), parameters: loop, expected: data.loop },
    ];
    return { subjects, reset: () => origin.reset(), close: () => origin.close() };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "first-epochs",
  title: "TFRecord shards of 110 KB records, batches of 64, from an origin on loopback",
  rounds: 5,
  columns: [
    { figure: "samplesPerSecond", title: "samples/s", digits: 0, chart: true },
    { figure: "gigabytesPerSecond", title: "GB/s", digits: 2 },
    { figure: "cpuSecondsPerGigabyte", title: "CPU s/GB", digits: 2 },
  ],
  bars: [
    {
      name: "cold: samples/s ÷ ceiling",
      atLeast: 0.8,
      value: (of) => of("millrace", "cold", "samplesPerSecond") / of("ceiling", "cold", "samplesPerSecond"),
    },
  ],
  prepare,
};
