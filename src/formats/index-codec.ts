/**
 * A record index as bytes, for keeping. Little-endian: a header of 40 bytes (magic, crc32c of all that follows, version, flags, six
 * unused bytes, count, inflated size or −1, bytes of keys), then sizes, gaps before records (unless there are none),
 * UTF-8 lengths of keys and the keys. Numbers take 4 bytes where all fit, else 8. Damage and notes are not kept.
 */
import { crc32c } from "../util/crc32c.js";
import type { RecordIndex } from "./format.js";

/** "MRIX". */
const MAGIC = 0x5849524d;
const VERSION = 1;
const HEADER_BYTES = 40;
/** Numbers take 8 bytes each. */
const WIDE = 1;
const GAPS = 2;
const KEYS = 4;

export function encodeIndex(index: RecordIndex): Uint8Array<ArrayBuffer> {
  const count = index.begins.length;
  const sizes = index.ends.map((end, i) => end - index.begins[i]!);
  const gaps = index.begins.map((begin, i) => begin - (i === 0 ? 0 : index.ends[i - 1]!));
  const keys = index.keys?.map((key) => Buffer.from(key));
  const keyBytes = keys?.reduce((sum, key) => sum + key.length, 0) ?? 0;
  const flags = (sizes.every(isUint32) && gaps.every(isUint32) ? 0 : WIDE) | (gaps.some((gap) => gap !== 0) ? GAPS : 0) | (keys ? KEYS : 0);
  const layout = layoutOf(flags, count, keyBytes);
  const bytes = new Uint8Array(layout.end);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(8, VERSION);
  view.setUint8(9, flags);
  view.setFloat64(16, count, true);
  view.setFloat64(24, index.inflatedSize ?? -1, true);
  view.setFloat64(32, keyBytes, true);
  numbersAt(bytes, flags, HEADER_BYTES, count).set(sizes);
  if (flags & GAPS) numbersAt(bytes, flags, layout.gaps, count).set(gaps);
  if (keys !== undefined) {
    new Uint32Array(bytes.buffer, layout.keyLengths, count).set(keys.map((key) => key.length));
    bytes.set(Buffer.concat(keys), layout.keys);
  }
  view.setUint32(4, crc32c(bytes.subarray(8)), true);
  return bytes;
}

/** Undefined for bytes that `encodeIndex` of this version did not write, or that were damaged since. */
export function decodeIndex(encoded: Uint8Array): RecordIndex | undefined {
  if (encoded.length < HEADER_BYTES) return undefined;
  // A copy: typed arrays need alignment, and the caller's memory may be taken back.
  const bytes = new Uint8Array(encoded);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== crc32c(bytes.subarray(8)) || view.getUint8(8) !== VERSION)
    return undefined;
  const flags = view.getUint8(9);
  const count = view.getFloat64(16, true);
  const inflatedSize = view.getFloat64(24, true);
  const layout = layoutOf(flags, count, view.getFloat64(32, true));
  if (!Number.isSafeInteger(count) || layout.end !== bytes.length) return undefined;
  const sizes = numbersAt(bytes, flags, HEADER_BYTES, count);
  const gaps = flags & GAPS ? numbersAt(bytes, flags, layout.gaps, count) : undefined;
  const begins = new Float64Array(count);
  const ends = new Float64Array(count);
  for (let i = 0, position = 0; i < count; i++) {
    begins[i] = position + (gaps?.[i] ?? 0);
    position = begins[i]! + sizes[i]!;
    ends[i] = position;
  }
  return { begins, ends, ...(flags & KEYS && { keys: readKeys(bytes, layout, count) }), ...(inflatedSize >= 0 && { inflatedSize }) };
}

interface Layout {
  readonly gaps: number;
  readonly keyLengths: number;
  readonly keys: number;
  readonly end: number;
}

function layoutOf(flags: number, count: number, keyBytes: number): Layout {
  const width = count * (flags & WIDE ? 8 : 4);
  const gaps = HEADER_BYTES + width;
  const keyLengths = gaps + (flags & GAPS ? width : 0);
  const keys = keyLengths + (flags & KEYS ? 4 * count : 0);
  return { gaps, keyLengths, keys, end: keys + keyBytes };
}

function numbersAt(bytes: Uint8Array<ArrayBuffer>, flags: number, offset: number, count: number): Uint32Array | Float64Array {
  return flags & WIDE ? new Float64Array(bytes.buffer, offset, count) : new Uint32Array(bytes.buffer, offset, count);
}

function readKeys(bytes: Uint8Array<ArrayBuffer>, layout: Layout, count: number): string[] {
  const lengths = new Uint32Array(bytes.buffer, layout.keyLengths, count);
  const text = Buffer.from(bytes.buffer);
  let position = layout.keys;
  return Array.from(lengths, (length) => {
    position += length;
    return text.toString("utf8", position - length, position);
  });
}

function isUint32(value: number): boolean {
  return value >= 0 && value < 2 ** 32;
}
