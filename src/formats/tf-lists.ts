/** The lists of a tf.train.Feature: bytes, floats and int64s, numbers packed or not. The reader is bounded to the list message. Numbers lie in the memory given. */

import { copyRange } from "../util/copy-bytes.js";
import type { NumberMemory } from "./number-memory.js";
import { DELIMITED, FIXED32, isField1, VARINT, WireError, type WireReader } from "./wire.js";

const FIELD_1_DELIMITED = 8 + DELIMITED;
const FIELD_1_FIXED32 = 8 + FIXED32;
const FIELD_1_VARINT = 8 + VARINT;

/** The one value as a view, or views of all. */
export function readBytesList(reader: WireReader): Uint8Array | readonly Uint8Array[] {
  let first: Uint8Array | undefined;
  let all: Uint8Array[] | undefined;
  while (reader.position < reader.end) {
    if (!isField1(reader)) continue;
    const end = reader.delimited();
    const value = reader.bytes.subarray(reader.position, end);
    reader.position = end;
    if (first === undefined) first = value;
    else if (all === undefined) all = [first, value];
    else all.push(value);
  }
  return all ?? first ?? [];
}

export function readFloats(reader: WireReader, memory: NumberMemory): Float32Array {
  const { bytes, position: begin } = reader;
  let count = 0;
  while (reader.position < reader.end) count += packedRun(reader, FIELD_1_FIXED32) / 4;
  if (!Number.isInteger(count)) throw new WireError("a float list is cut short");
  const values = memory.floats(count);
  reader.position = begin;
  let filled = 0;
  while (reader.position < reader.end) {
    const run = packedRun(reader, FIELD_1_FIXED32);
    copyRange(memory.bytes, filled, bytes, reader.position - run, reader.position);
    filled += run;
  }
  return values;
}

export function readInt64s(reader: WireReader, memory: NumberMemory): BigInt64Array {
  const { bytes, position: begin } = reader;
  let count = 0;
  while (reader.position < reader.end) {
    const run = packedRun(reader, FIELD_1_VARINT);
    // A varint ends at its first byte below 0x80.
    for (let i = reader.position - run; i < reader.position; i++) if (bytes[i]! < 0x80) count++;
  }
  const values = memory.int64s(count);
  reader.position = begin;
  let filled = 0;
  while (reader.position < reader.end) {
    const run = packedRun(reader, FIELD_1_VARINT);
    filled = fillVarints(bytes, reader.position - run, reader.position, memory.halves, filled);
  }
  return values;
}

/** Passes over the next field of a list; the bytes of values it held end at the position. 0 for another field. */
function packedRun(reader: WireReader, unpackedTag: number): number {
  const tag = reader.varint32();
  if (tag === FIELD_1_DELIMITED) {
    const end = reader.delimited();
    const run = end - reader.position;
    reader.position = end;
    return run;
  }
  const begin = reader.position;
  if (tag < 8) throw new WireError("field number 0");
  reader.skip(tag % 8);
  return tag === unpackedTag ? reader.position - begin : 0;
}

/** Decodes varints into 64-bit little-endian halves, without a BigInt a value; returns how many values are filled. */
function fillVarints(bytes: Uint8Array, begin: number, end: number, halves: Int32Array, filled: number): number {
  let count = filled;
  let low = 0;
  let high = 0;
  let shift = 0;
  for (let i = begin; i < end; i++) {
    const byte = bytes[i]!;
    const group = byte & 0x7f;
    if (shift < 28) low |= group << shift;
    else if (shift === 28) {
      low |= group << 28;
      high |= group >>> 4;
    } else if (shift < 70) high |= group << (shift - 32);
    else throw new WireError("a number is too long");
    shift += 7;
    if (byte >= 0x80) continue;
    halves[2 * count] = low;
    halves[2 * count + 1] = high;
    count++;
    low = high = shift = 0;
  }
  if (shift !== 0) throw new WireError("an int64 list is cut short");
  return count;
}
