/** From shards and their record indexes to the packed arrays that a Manifest reads. */
import { createHash } from "node:crypto";
import type { StoredObject } from "../storage/store.js";
import type { RecordIndex } from "./format.js";
import { type Numbers, type PackedStrings, packStrings, sharedNumbers } from "./packed.js";

export interface ManifestShard {
  readonly stored: StoredObject;
  /** Undefined: the object is one record, and its path is the key. */
  readonly index?: RecordIndex | undefined;
  /** URI of the store that holds it, where that is not the dataset's `root`. */
  readonly root?: string | undefined;
}

export interface ManifestSource {
  /** Name of the record format. */
  readonly format: string;
  /** URI of the store that holds the shards. */
  readonly root: string;
  readonly shards: readonly ManifestShard[];
  readonly classes?: readonly string[] | undefined;
}

/** The shard is one record from its first byte to its last: no row in the record table. */
export const WHOLE = 1;
/** The key of its sample is the shard's path. */
export const KEY_IS_PATH = 2;
export const COMPRESSED = 4;

/** What threads share. Arrays are by shard unless said. */
export interface ManifestBuffers {
  readonly format: string;
  readonly fingerprint: string;
  readonly byteLength: number;
  readonly storedBytes: number;
  readonly classes: readonly string[] | undefined;
  readonly rootNames: readonly string[];
  /** Number of each shard's root in `rootNames`; undefined where there is one root. */
  readonly roots: Numbers | undefined;
  /** Path and etag of each shard, alternating. */
  readonly names: PackedStrings;
  readonly sizes: Numbers;
  /** Milliseconds since 1970, NaN where the store does not say. */
  readonly modified: Float64Array<SharedArrayBuffer>;
  readonly flags: Uint8Array<SharedArrayBuffer>;
  /** First sample of each shard, then the number of all samples. */
  readonly firsts: Numbers;
  /** Undefined where no shard is compressed. */
  readonly inflated: Numbers | undefined;
  /** Row of each shard's first record in `bounds`; undefined where every shard is whole. */
  readonly bases: Numbers | undefined;
  /** Begins of the records of each shard that is not whole, then the end of its last one. */
  readonly bounds: Numbers;
  /** Ends by row; undefined where each record ends where the next begins, so that `bounds` says it. */
  readonly ends: Numbers | undefined;
  /** Keys by sample, "" where the format has none; undefined where it has none at all. */
  readonly keys: PackedStrings | undefined;
}

export function packManifest(source: ManifestSource): ManifestBuffers {
  const { format, shards, classes } = source;
  const names = packStrings(2 * shards.length, (i) => (i % 2 === 0 ? shards[i >> 1]!.stored.path : shards[i >> 1]!.stored.etag));
  const objects = packObjects(shards);
  const records = packRecords(shards, objects.flags);
  const fingerprint = fingerprintOf(format, classes, [names.bytes, names.offsets, objects.sizes, records.firsts]);
  return {
    format,
    classes,
    fingerprint,
    names,
    ...packRoots(source),
    ...objects,
    ...records,
    keys: packKeys(shards, records.firsts.at(-1)!),
  };
}

function packObjects(shards: readonly ManifestShard[]): Pick<ManifestBuffers, "sizes" | "modified" | "flags" | "inflated" | "storedBytes"> {
  const largest = shards.reduce((max, { stored }) => Math.max(max, stored.size), 0);
  const mostInflated = shards.reduce((max, { index }) => Math.max(max, index?.inflatedSize ?? -1), -1);
  const sizes = sharedNumbers(shards.length, largest);
  const inflated = mostInflated < 0 ? undefined : sharedNumbers(shards.length, mostInflated);
  const modified = new Float64Array(new SharedArrayBuffer(shards.length * Float64Array.BYTES_PER_ELEMENT));
  const flags = new Uint8Array(new SharedArrayBuffer(shards.length));
  let storedBytes = 0;
  for (let i = 0; i < shards.length; i++) {
    const { stored, index } = shards[i]!;
    sizes[i] = stored.size;
    storedBytes += stored.size;
    modified[i] = stored.lastModified?.getTime() ?? Number.NaN;
    flags[i] = flagsOf(shards[i]!);
    if (index?.inflatedSize !== undefined) inflated![i] = index.inflatedSize;
  }
  return { sizes, modified, flags, inflated, storedBytes };
}

function flagsOf({ stored, index }: ManifestShard): number {
  if (index === undefined) return WHOLE | KEY_IS_PATH;
  const size = index.inflatedSize ?? stored.size;
  const whole = index.begins.length === 1 && index.begins[0] === 0 && index.ends[0] === size;
  return (whole ? WHOLE : 0) | (keyIsPath({ stored, index }) ? KEY_IS_PATH : 0) | (index.inflatedSize === undefined ? 0 : COMPRESSED);
}

function keyIsPath({ stored, index }: ManifestShard): boolean {
  return index?.keys?.length === 1 && index.keys[0] === stored.path;
}

function packRecords(
  shards: readonly ManifestShard[],
  flags: Uint8Array,
): Pick<ManifestBuffers, "firsts" | "bases" | "bounds" | "ends" | "byteLength"> {
  const count = shards.reduce((sum, { index }) => sum + (index?.begins.length ?? 1), 0);
  const tables = shards.filter((_, i) => !(flags[i]! & WHOLE)).map(({ index }) => index!);
  const rows = tables.reduce((sum, { begins }) => sum + begins.length + 1, 0);
  const farthest = tables.reduce((max, { ends }) => ends.reduce((a, b) => Math.max(a, b), max), 0);
  const firsts = sharedNumbers(shards.length + 1, count);
  const bases = tables.length === 0 ? undefined : sharedNumbers(shards.length, rows);
  const bounds = sharedNumbers(rows, farthest);
  const ends = tables.every(isContiguous) ? undefined : sharedNumbers(rows, farthest);
  let row = 0;
  let byteLength = 0;
  for (let i = 0; i < shards.length; i++) {
    const { index, stored } = shards[i]!;
    firsts[i + 1] = firsts[i]! + (index?.begins.length ?? 1);
    if (index === undefined || flags[i]! & WHOLE) {
      byteLength += index?.inflatedSize ?? stored.size;
      continue;
    }
    bases![i] = row;
    bounds.set(index.begins, row);
    bounds[row + index.begins.length] = index.ends.at(-1) ?? 0;
    ends?.set(index.ends, row);
    for (let k = 0; k < index.begins.length; k++) byteLength += index.ends[k]! - index.begins[k]!;
    row += index.begins.length + 1;
  }
  return { firsts, bases, bounds, ends, byteLength };
}

function isContiguous({ begins, ends }: RecordIndex): boolean {
  for (let k = 1; k < begins.length; k++) if (begins[k] !== ends[k - 1]) return false;
  return true;
}

function packKeys(shards: readonly ManifestShard[], count: number): PackedStrings | undefined {
  if (!shards.some((shard) => shard.index?.keys !== undefined && !keyIsPath(shard))) return undefined;
  const keys: string[] = new Array(count).fill("");
  let first = 0;
  for (const shard of shards) {
    const own = keyIsPath(shard) ? undefined : shard.index?.keys;
    own?.forEach((key, k) => {
      keys[first + k] = key;
    });
    first += shard.index?.begins.length ?? 1;
  }
  return packStrings(count, (i) => keys[i]!);
}

function packRoots({ root, shards }: ManifestSource): Pick<ManifestBuffers, "rootNames" | "roots"> {
  const numbers = new Map<string, number>([[root, 0]]);
  for (const shard of shards) if (shard.root !== undefined && !numbers.has(shard.root)) numbers.set(shard.root, numbers.size);
  if (numbers.size === 1) return { rootNames: [root], roots: undefined };
  const roots = sharedNumbers(shards.length, numbers.size);
  for (let i = 0; i < shards.length; i++) roots[i] = numbers.get(shards[i]!.root ?? root)!;
  return { rootNames: [...numbers.keys()], roots };
}

function fingerprintOf(format: string, classes: readonly string[] | undefined, arrays: readonly (Uint8Array | Numbers)[]): string {
  const hash = createHash("sha256").update(JSON.stringify([format, classes ?? null]));
  // Lengths first, so that no two different lists of arrays give the same bytes.
  for (const array of arrays) hash.update(`${array.byteLength},`);
  for (const array of arrays) hash.update(array);
  return hash.digest("hex");
}
