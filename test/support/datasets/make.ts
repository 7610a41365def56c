/** Whole datasets whose every sample is known by its hash, so that an epoch can be checked end to end. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { type WebdatasetSample, webdatasetShard } from "./tar.js";
import { encodeExample, tfrecordShard } from "./tfrecord.js";

export interface DatasetOptions {
  format: "tfrecord" | "webdataset" | "files";
  samples: number;
  /** Default 4. Of `files`, each sample is its own object. */
  shards?: number | undefined;
  /** Mean; single samples have from half to one and a half of it. Default 1000. */
  bytesPerSample?: number | undefined;
  /** Default 1. */
  seed?: number | undefined;
  /** Whole-file gzip of shards. */
  gzip?: boolean | undefined;
  /** DALI index files beside the shards. */
  indexed?: boolean | undefined;
}
export interface MadeSample {
  /** As the format names it: `shard-00001.tfrecord` has no keys, so there it is undefined. */
  readonly key: string | undefined;
  readonly label: number;
  readonly bytes: number;
  /** Hex, of the payload. */
  readonly sha256: string;
}
export interface MadeDataset {
  /** Object key below the dataset's prefix → bytes, sidecars included. */
  readonly objects: ReadonlyMap<string, Uint8Array>;
  /** In the manifest's order: shards by name, samples as they lie in them. */
  readonly samples: readonly MadeSample[];
  /** The field that holds the hashed payload. Its label is in `label` (TFRecord, files) or `cls` (WebDataset, as digits). */
  readonly payloadField: string;
  /** Bytes of the data objects, without sidecars. */
  readonly byteLength: number;
}

const CLASSES = 10;

/** Bytes of xorshift32: no two samples are alike, and none compresses. */
export function randomBytes(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (Math.imul(seed + 1, 0x9e3779b1) | 1) >>> 0;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Payload {
  readonly label: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

function payload(number: number, seed: number, mean: number): Payload {
  // The size takes a generator of its own: xorshift's first word after a small seed is not uniform enough.
  const part = (Math.imul(number + 1, 0x85ebca6b) >>> 0) / 2 ** 32;
  return { label: number % CLASSES, bytes: randomBytes(Math.max(8, Math.round(mean * (0.5 + part))), seed * 1_000_003 + number) };
}

interface Shard {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly sidecar: readonly [string, string];
  readonly keys: readonly (string | undefined)[];
}

function tfrecord(name: string, payloads: readonly Payload[], gzip: boolean): Shard {
  const examples = payloads.map(({ bytes, label }, i) =>
    encodeExample({ image: { bytes: [bytes] }, label: { ints: [label] } }, i % 2 === 0),
  );
  const { bytes, index } = tfrecordShard(examples, gzip ? "gzip" : "none");
  return { name: `${name}.tfrecord${gzip ? ".gz" : ""}`, bytes, sidecar: [`${name}.idx`, index], keys: payloads.map(() => undefined) };
}

function webdataset(name: string, payloads: readonly Payload[], gzip: boolean): Shard {
  const samples: WebdatasetSample[] = payloads.map(({ bytes, label }, i) => ({
    key: `${name}/${String(i).padStart(6, "0")}`,
    fields: { bin: bytes, cls: Buffer.from(String(label)) },
  }));
  const { bytes, index } = webdatasetShard(samples);

  return {
    name: `${name}.tar${gzip ? ".gz" : ""}`,
    bytes: gzip ? gzipSync(bytes) : bytes,
    sidecar: [`${name}.idx`, index],
    keys: samples.map(({ key }) => key),
  };
}

/** The same options give the same bytes, on every machine (gzip: for one zlib). */
export function makeDataset(options: DatasetOptions): MadeDataset {
  const { format, samples: count, seed = 1, bytesPerSample = 1000, gzip = false } = options;
  const payloads = Array.from({ length: count }, (_, i) => payload(i, seed, bytesPerSample));
  const objects = new Map<string, Uint8Array>();
  const samples: MadeSample[] = [];
  const add = ({ label, bytes }: Payload, key: string | undefined) =>
    samples.push({ key, label, bytes: bytes.length, sha256: sha256(bytes) });
  if (format === "files") {
    const named = payloads.map((one, i) => ({ one, path: `class-${one.label}/${String(i).padStart(7, "0")}.bin` }));
    for (const { one, path } of named.sort((a, b) => (a.path < b.path ? -1 : 1))) {
      objects.set(path, one.bytes);
      add(one, path);
    }
    return { objects, samples, payloadField: "bytes", byteLength: samples.reduce((sum, { bytes }) => sum + bytes, 0) };
  }
  const shards = options.shards ?? 4;
  let byteLength = 0;
  for (let s = 0; s < shards; s++) {
    const part = payloads.slice(Math.floor((s * count) / shards), Math.floor(((s + 1) * count) / shards));
    const name = `shard-${String(s).padStart(5, "0")}`;
    const shard = format === "tfrecord" ? tfrecord(name, part, gzip) : webdataset(name, part, gzip);
    objects.set(shard.name, shard.bytes);
    if (options.indexed) objects.set(shard.sidecar[0], Buffer.from(shard.sidecar[1]));
    byteLength += shard.bytes.length;
    for (const [i, one] of part.entries()) add(one, shard.keys[i]);
  }
  return { objects, samples, payloadField: format === "tfrecord" ? "image" : "bin", byteLength };
}
