/** TFRecord shards with their record index beside them, on a test origin. */
import { randomBytes, tfrecordShard } from "../../test/support/datasets/index.js";
import type { Origin } from "../../test/support/origin/index.js";
import type { Figures } from "./scenario.js";
import { Tally } from "./subject.js";

export interface ShardSet {
  readonly shards: number;
  readonly samplesPerShard: number;
  readonly sampleBytes: number;
}
export interface UploadedShard {
  readonly key: string;
  readonly bytes: number;
}

/** Returns the shards, and what reading all of them gives, and what reading the first `part` samples gives. */
export async function uploadShards(
  origin: Origin,
  bucket: string,
  prefix: string,
  { shards, samplesPerShard, sampleBytes }: ShardSet,
  part = 0,
): Promise<{ readonly shards: UploadedShard[]; readonly all: Figures; readonly first: Figures }> {
  const [all, first] = [new Tally(), new Tally()];
  const uploaded: UploadedShard[] = [];
  for (let s = 0; s < shards; s++) {
    const payloads = Array.from({ length: samplesPerShard }, (_, i) => randomBytes(sampleBytes, s * samplesPerShard + i));
    for (const payload of payloads) {
      if (all.samples < part) first.add(payload, 0, payload.length);
      all.add(payload, 0, payload.length);
    }
    const { bytes, index } = tfrecordShard(payloads);
    const name = `${prefix}/shard-${String(s).padStart(5, "0")}`;
    uploaded.push({ key: `${name}.tfrecord`, bytes: bytes.length });
    await origin.put(bucket, `${name}.tfrecord`, bytes);
    await origin.put(bucket, `${name}.idx`, Buffer.from(index));
  }
  return { shards: uploaded, all: { ...all }, first: { ...first } };
}
