/**
 * TFRecord (tensorflow/core/lib/io/record_writer.h): u64 length, u32 masked crc32c of the length, data, u32 masked crc32c of the data,
 * little-endian; whole-file gzip and zlib variants, told by their first bytes. Data is mostly a tf.train.Example.
 */

import type { Fields } from "../api.js";
import { MillraceError } from "../errors.js";
import { formatBytes } from "../util/byte-size.js";
import { crc32c } from "../util/crc32c.js";
import type { RawRecord, RawSample, RecordFormat, RecordIndex, ShardReader } from "./format.js";
import { indexInflated, isGzip, mayBeZlib } from "./inflate.js";
import { crc32cOf8 } from "./length-crc.js";
import { corruptRecord, damageOf } from "./record-error.js";
import { SCAN_SIZES, type ScanSizes, ScanWindow } from "./scan-window.js";
import { parseTfrecordIndex, sidecarOr } from "./sidecar.js";
import { decodeExample, exampleKinds, type FeatureKind } from "./tf-example.js";
import { WireError } from "./wire.js";

/** u64 length and u32 checksum. */
const HEADER_BYTES = 12;
/** After the data. */
const CHECKSUM_BYTES = 4;
const FRAME_BYTES = HEADER_BYTES + CHECKSUM_BYTES;
const RECORD_ONLY: Fields = { record: "bytes" };

export const tfrecord: RecordFormat = {
  name: "tfrecord",
  matches: (path) => /\.(tfrecords?|tfrec)(\.(gz|zlib))?$|-\d{5,}-of-\d{5,}(\.(gz|zlib))?$/i.test(path),
  compressed: (path) => /\.(gz|zlib)$/i.test(path),
  index: indexTfrecord,
  fields: tfrecordFields,
  defaultFields,
};

async function indexTfrecord(reader: ShardReader): Promise<RecordIndex> {
  return tfrecord.compressed(reader.path) ? scanTfrecord(reader) : sidecarOr(reader, parseTfrecordIndex, scanTfrecord);
}

/** Builds the index from the records themselves. `sizes` is for tests. */
export async function scanTfrecord(reader: ShardReader, sizes: ScanSizes = SCAN_SIZES): Promise<RecordIndex> {
  const window = await ScanWindow.open(reader, sizes);
  // By content: TensorFlow's own writers give compressed files no name of their own, and some servers inflate on the way.
  const compressed = isGzip(window.bytes) || mayBeZlib(window.bytes);
  if (compressed && !lengthIsValid(window.bytes, 0))
    return indexInflated(reader, async (inflated) => scanRecords(inflated, await ScanWindow.open(inflated, sizes)));
  return scanRecords(reader, window);
}

async function scanRecords(reader: ShardReader, window: ScanWindow): Promise<RecordIndex> {
  const bounds = [0];
  let position = 0;
  let damage: RecordIndex["damage"];
  while (position < reader.size) {
    if (!window.holds(position, HEADER_BYTES)) await window.load(position, HEADER_BYTES, bounds.length - 1);
    const at = position - window.begin;
    const problem = headerProblem(window.bytes, at, reader.size - position, reader.maxRecordBytes);
    if (problem !== undefined) {
      damage = damageOf(reader, corruptRecord(reader, bounds.length - 1, position, problem), position);
      break;
    }
    position += FRAME_BYTES + dataLength(window.bytes, at);
    bounds.push(position);
  }
  return { begins: Float64Array.from(bounds.slice(0, -1)), ends: Float64Array.from(bounds.slice(1)), damage };
}

function headerProblem(bytes: Uint8Array, at: number, left: number, maxRecordBytes: number): string | undefined {
  if (left < FRAME_BYTES) return `the shard ends after ${left} bytes of it: it is cut short`;
  if (!lengthIsValid(bytes, at)) return "length checksum does not match; the shard is damaged or not a TFRecord file";
  const length = dataLength(bytes, at);
  if (length > maxRecordBytes) return `${formatBytes(length)} is more than limits.maxRecordBytes (${formatBytes(maxRecordBytes)})`;
  if (length + FRAME_BYTES > left) return `it takes ${length + FRAME_BYTES} bytes, but the shard ends after ${left}: it is cut short`;
  return undefined;
}

function lengthIsValid(bytes: Uint8Array, at: number): boolean {
  return bytes.length - at >= HEADER_BYTES && masked(crc32cOf8(bytes, at)) === u32(bytes, at + 8);
}

/** Exact to 2^53; beyond it only ever compared with a limit. */
function dataLength(bytes: Uint8Array, at: number): number {
  return u32(bytes, at) + u32(bytes, at + 4) * 2 ** 32;
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** TFRecord stores no plain checksum, so that one of data that holds checksums stays strong. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** The data of one record, its checksum verified. */
function payloadOf(record: RawRecord): Uint8Array {
  const { bytes, begin, end } = record;
  if (end - begin < FRAME_BYTES || dataLength(bytes, begin) !== end - begin - FRAME_BYTES)
    throw new MillraceError(
      "MILLRACE_CORRUPT",
      `${record.shardPath}: no record has these bounds; the shard is damaged, or its record index is of another version: rebuild or remove it`,
    );
  // The checksum wants a view of its own: the only object made for a record.
  const payload = bytes.subarray(begin + HEADER_BYTES, end - CHECKSUM_BYTES);
  if (masked(crc32c(payload)) !== u32(bytes, end - CHECKSUM_BYTES))
    throw new MillraceError(
      "MILLRACE_CORRUPT",
      `${record.shardPath}: data checksum of a record does not match; the shard is damaged: write it again, or skip its bad records with onError: "skip"`,
    );
  return payload;
}

function tfrecordFields(record: RawRecord, wanted: ReadonlySet<string> | undefined, sample: RawSample = {}): RawSample {
  const payload = payloadOf(record);
  const whole = wanted?.has("record") ?? false;
  try {
    if (!whole || wanted!.size > 1) decodeExample(payload, wanted, sample);
    if (whole || (wanted === undefined && Object.keys(sample).length === 0)) sample.record = payload;
    return sample;
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    if (wanted === undefined) return { record: payload };
    throw new MillraceError(
      "MILLRACE_FORMAT",
      `${record.shardPath}: a record is no tf.train.Example (${cause.message}), so it has no field ${JSON.stringify([...wanted][0])}; declare fields: { record: "bytes" } to have its bytes`,
      { cause },
    );
  }
}

const KIND_FIELDS: Readonly<Record<FeatureKind, Fields[string]>> = {
  bytes: "bytes",
  float: { dtype: "float32", shape: [null] },
  int64: { dtype: "int64", shape: [null] },
};

function defaultFields(firstRecord: RawRecord): Fields {
  try {
    const kinds = exampleKinds(payloadOf(firstRecord));
    return kinds.size === 0 ? RECORD_ONLY : Object.fromEntries([...kinds].map(([name, kind]) => [name, KIND_FIELDS[kind]]));
  } catch (error) {
    if (error instanceof WireError) return RECORD_ONLY;
    throw error;
  }
}
