/**
 * Decodes tf.train.Example (tensorflow/core/example/example.proto, feature.proto):
 *   Example { Features features = 1 }   Features { map<string, Feature> feature = 1 }
 *   Feature { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3 } }
 *   each list { repeated value = 1 }, numbers packed or not.
 * Where a field that may occur once occurs twice, the last one holds. Feature lists of a SequenceExample are passed over.
 */
import type { RawSample, RawValue } from "./format.js";
import { NumberMemory } from "./number-memory.js";
import { setField } from "./raw-sample.js";
import { readBytesList, readFloats, readInt64s } from "./tf-lists.js";
import { DELIMITED, isField1, WireReader } from "./wire.js";

const BYTES_LIST = 1;
const FLOAT_LIST = 2;
const INT64_LIST = 3;
const FIELD_1_DELIMITED = 8 + DELIMITED;
const FIELD_2_DELIMITED = 16 + DELIMITED;

export type FeatureKind = "bytes" | "float" | "int64";
const KINDS: readonly (FeatureKind | undefined)[] = [undefined, "bytes", "float", "int64"];

interface WantedFeature {
  readonly name: string;
  readonly utf8: Uint8Array;
  readonly memory: NumberMemory;
}
/** The wanted names as bytes: features that nobody wants are passed over without making a string of their name. */
const wantedFeatures = new WeakMap<ReadonlySet<string>, readonly WantedFeature[]>();

/**
 * Fills in the wanted features by name (undefined: all): bytes lists as a view of the one value or a list of views, float lists as
 * Float32Array, int64 lists as BigInt64Array, whose memory the next call with the same `wanted` fills anew. Features without a list are
 * left as they are. Throws WireError for bytes that are no Example.
 */
export function decodeExample(bytes: Uint8Array, wanted: ReadonlySet<string> | undefined, sample: RawSample = {}): RawSample {
  eachFeature(new WireReader(bytes), wanted && featuresOf(wanted), addValue, sample);
  return sample;
}

function addValue(reader: WireReader, name: string, memory: NumberMemory, sample: RawSample): void {
  const value = readFeature(reader, memory);
  if (value !== undefined) setField(sample, name, value);
}

/** The kind of each feature's list. Throws WireError for bytes that are no Example. */
export function exampleKinds(bytes: Uint8Array): Map<string, FeatureKind> {
  const kinds = new Map<string, FeatureKind>();
  eachFeature(new WireReader(bytes), undefined, addKind, kinds);
  return kinds;
}

function addKind(reader: WireReader, name: string, _: NumberMemory, kinds: Map<string, FeatureKind>): void {
  let kind: FeatureKind | undefined;
  while (reader.position < reader.end) {
    const tag = reader.varint32();
    if (tag % 8 === DELIMITED) kind = KINDS[tag >>> 3] ?? kind;
    reader.skip(tag % 8);
  }
  if (kind !== undefined) kinds.set(name, kind);
}

/** Is called with the reader bounded to a Feature message. Not a closure: none is made for a sample. */
type Visit<T> = (reader: WireReader, name: string, memory: NumberMemory, into: T) => void;

/** Visits each feature whose name is wanted. */
function eachFeature<T>(reader: WireReader, wanted: readonly WantedFeature[] | undefined, visit: Visit<T>, into: T): void {
  const exampleEnd = reader.end;
  while (reader.position < exampleEnd) {
    if (!isField1(reader)) continue;
    const featuresEnd = reader.delimited();
    reader.end = featuresEnd;
    while (reader.position < featuresEnd) {
      if (!isField1(reader)) continue;
      const entryEnd = reader.delimited();
      reader.end = entryEnd;
      readEntry(reader, wanted, visit, into);
      reader.position = entryEnd;
      reader.end = featuresEnd;
    }
    reader.end = exampleEnd;
  }
}

/** A map entry: key = 1, value = 2, in any order. */
function readEntry<T>(reader: WireReader, wanted: readonly WantedFeature[] | undefined, visit: Visit<T>, into: T): void {
  const { end } = reader;
  let keyBegin = 0;
  let keyEnd = 0;
  let begin = end;
  let valueEnd = end;
  while (reader.position < end) {
    const tag = reader.varint32();
    if (tag === FIELD_1_DELIMITED || tag === FIELD_2_DELIMITED) {
      const fieldEnd = reader.delimited();
      if (tag === FIELD_1_DELIMITED) {
        keyBegin = reader.position;
        keyEnd = fieldEnd;
      } else {
        begin = reader.position;
        valueEnd = fieldEnd;
      }
      reader.position = fieldEnd;
    } else reader.skip(tag % 8);
  }
  const feature = wanted === undefined ? undefined : find(wanted, reader.bytes, keyBegin, keyEnd);
  if (wanted !== undefined && feature === undefined) return;
  reader.position = begin;
  reader.end = valueEnd;
  visit(reader, feature?.name ?? utf8(reader.bytes, keyBegin, keyEnd), feature?.memory ?? new NumberMemory(), into);
}

function readFeature(reader: WireReader, memory: NumberMemory): RawValue | undefined {
  const { end } = reader;
  let value: RawValue | undefined;
  while (reader.position < end) {
    const tag = reader.varint32();
    const kind = tag >>> 3;
    if (tag % 8 !== DELIMITED || kind < BYTES_LIST || kind > INT64_LIST) {
      reader.skip(tag % 8);
      continue;
    }
    const listEnd = reader.delimited();
    reader.end = listEnd;
    value = kind === BYTES_LIST ? readBytesList(reader) : kind === FLOAT_LIST ? readFloats(reader, memory) : readInt64s(reader, memory);
    reader.position = listEnd;
    reader.end = end;
  }
  return value;
}

function featuresOf(wanted: ReadonlySet<string>): readonly WantedFeature[] {
  let features = wantedFeatures.get(wanted);
  if (features === undefined) {
    features = [...wanted].map((name) => ({ name, utf8: Buffer.from(name), memory: new NumberMemory() }));
    wantedFeatures.set(wanted, features);
  }
  return features;
}

function find(wanted: readonly WantedFeature[], bytes: Uint8Array, begin: number, end: number): WantedFeature | undefined {
  next: for (const feature of wanted) {
    const expected = feature.utf8;
    if (expected.length !== end - begin) continue;
    for (let i = 0; i < expected.length; i++) if (expected[i] !== bytes[begin + i]) continue next;
    return feature;
  }
  return undefined;
}

function utf8(bytes: Uint8Array, begin: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + begin, end - begin).toString("utf8");
}
