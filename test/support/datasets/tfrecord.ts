/** TFRecord files and tf.train.Example messages, written from the formats' own descriptions and from nothing in src/. */
import { deflateSync, gzipSync } from "node:zlib";
import { crc32c } from "@node-rs/crc32";

/** TensorFlow's mask, which keeps a crc of data that holds crcs from degenerating. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;

/** One framed record. */
export function tfrecord(payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length + FOOTER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(payload.length), true);
  view.setUint32(8, maskedCrc32c(bytes.subarray(0, 8)), true);
  bytes.set(payload, HEADER_BYTES);
  view.setUint32(HEADER_BYTES + payload.length, maskedCrc32c(payload), true);
  return bytes;
}

export interface TfrecordShard {
  readonly bytes: Uint8Array;
  /** DALI's tfrecord2idx: a line `offset size` for each record. Meaningless for a compressed shard. */
  readonly index: string;
}

/** A shard of these payloads; compression is of the whole file. */
export function tfrecordShard(payloads: readonly Uint8Array[], compression: "none" | "gzip" | "zlib" = "none"): TfrecordShard {
  const records = payloads.map(tfrecord);
  let offset = 0;
  let index = "";
  for (const record of records) {
    index += `${offset} ${record.length}\n`;
    offset += record.length;
  }
  const plain = Buffer.concat(records);
  return { bytes: compression === "none" ? plain : compression === "gzip" ? gzipSync(plain) : deflateSync(plain), index };
}

/** Values of one feature; the kind of list follows from the property. */
export type Feature = { bytes: readonly Uint8Array[] } | { floats: readonly number[] } | { ints: readonly (number | bigint)[] };
export type Features = Readonly<Record<string, Feature>>;

const WIRE_VARINT = 0;
const WIRE_BYTES = 2;
const WIRE_32BIT = 5;

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return bytes;
}

function tag(field: number, wire: number): Buffer {
  return Buffer.from([(field << 3) | wire]);
}

function delimited(field: number, body: Uint8Array): Buffer {
  return Buffer.concat([tag(field, WIRE_BYTES), Buffer.from(varint(BigInt(body.length))), body]);
}

function float32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function encodeFeature(feature: Feature, packed: boolean): Buffer {
  if ("bytes" in feature) return delimited(1, Buffer.concat(feature.bytes.map((bytes) => delimited(1, bytes))));
  const floats = "floats" in feature;
  const items = floats ? feature.floats.map(float32) : feature.ints.map((value) => Buffer.from(varint(BigInt(value))));
  const single = tag(1, floats ? WIRE_32BIT : WIRE_VARINT);
  const list = packed ? delimited(1, Buffer.concat(items)) : Buffer.concat(items.flatMap((item) => [single, item]));
  return delimited(floats ? 2 : 3, list);
}

/** A tf.train.Example. Both ways of writing number lists occur in the wild: packed is what proto3 writers do. */
export function encodeExample(features: Features, packed = true): Uint8Array {
  const entries = Object.entries(features).map(([name, feature]) =>
    delimited(1, Buffer.concat([delimited(1, Buffer.from(name)), delimited(2, encodeFeature(feature, packed))])),
  );
  return delimited(1, Buffer.concat(entries));
}
