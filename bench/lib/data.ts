/** The data of the epoch scenarios: the same random samples as TFRecord shards, as tar shards and as single objects. */
import { link, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { randomBytes, tfrecordShard, webdatasetShard } from "../../test/support/datasets/index.js";
import { type Read, Tally } from "./subject.js";

/** A photograph of 500 × 375 as JPEG is about this long. */
export const SAMPLE_BYTES = 110_000;

export type ShardFormat = "tfrecord" | "tar";

export interface Shard {
  /** Path below the server's root, with a slash before it. */
  readonly path: string;
  readonly samples: number;
  /** What reading all of it gives. */
  readonly read: Read;
}

/** What reading all of these gives. */
export function readOf(shards: readonly Shard[]): Read {
  const sum = (figure: keyof Read) => shards.reduce((total, { read }) => total + read[figure], 0);
  return { samples: sum("samples"), bytes: sum("bytes"), firstWords: sum("firstWords") };
}

/** Writes `/<folder>/shard-NNNNN.<format>` of up to `samplesPerShard` samples each, and their record indexes beside them. */
export async function writeShards(
  root: string,
  folder: string,
  format: ShardFormat,
  { samples, samplesPerShard }: { readonly samples: number; readonly samplesPerShard: number },
): Promise<Shard[]> {
  const shards: Shard[] = [];
  await mkdir(join(root, folder), { recursive: true });
  for (let first = 0; first < samples; first += samplesPerShard) {
    const payloads = samplesOf(first, Math.min(samplesPerShard, samples - first));
    const name = shardName(folder, shards.length);
    const { bytes, index } = format === "tfrecord" ? tfrecordShard(payloads) : tarShard(payloads);
    await writeDurably(join(root, `${name}.${format}`), bytes);
    await writeDurably(join(root, `${name}.idx`), Buffer.from(index));
    shards.push({ path: `${name}.${format}`, samples: payloads.length, read: tally(payloads) });
  }
  return shards;
}

/** One shard under many names, so that much data takes little room: to those who read them they are different objects. */
export async function linkShards(root: string, folder: string, format: ShardFormat, shard: Shard, count: number): Promise<Shard[]> {
  await mkdir(join(root, folder), { recursive: true });
  const shards: Shard[] = [];
  for (let i = 0; i < count; i++) {
    const name = shardName(folder, i);
    await link(join(root, shard.path), join(root, `${name}.${format}`));
    await link(join(root, shard.path.replace(/[^.]+$/, "idx")), join(root, `${name}.idx`));
    shards.push({ ...shard, path: `${name}.${format}` });
  }
  return shards;
}

/** Writes the first samples of `writeShards` as objects of their own, `/<folder>/NNNNNN`. */
export async function writeObjects(root: string, folder: string, samples: number): Promise<Shard[]> {
  const shards: Shard[] = [];
  await mkdir(join(root, folder), { recursive: true });
  for (const [i, payload] of samplesOf(0, samples).entries()) {
    const path = `/${folder}/${String(i).padStart(6, "0")}`;
    await writeDurably(join(root, path), payload);
    shards.push({ path, samples: 1, read: tally([payload]) });
  }
  return shards;
}

/** What a dataset's opener writes for these shards: http servers cannot be listed. */
export function bracePattern(endpoint: string, folder: string, format: ShardFormat, shards: number): string {
  const last = String(shards - 1).padStart(5, "0");
  return `${endpoint}/${folder}/shard-{00000..${last}}.${format}`;
}

function shardName(folder: string, number: number): string {
  return `/${folder}/shard-${String(number).padStart(5, "0")}`;
}

function samplesOf(first: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => randomBytes(SAMPLE_BYTES, first + i));
}

function tally(payloads: readonly Uint8Array[]): Read {
  const sum = new Tally();
  for (const payload of payloads) sum.add(payload, 0, payload.length);
  return { ...sum };
}

function tarShard(payloads: readonly Uint8Array[]) {
  return webdatasetShard(payloads.map((bytes, i) => ({ key: String(i).padStart(6, "0"), fields: { bin: bytes } })));
}

/** On disk before it returns: the system writing it back later would be measured as something else. */
async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
