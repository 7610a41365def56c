import type { Fields } from "../api.js";

/** Ranged reads of one shard, through the cache. What `index` reads is in the cache afterwards. */
export interface ShardReader {
  readonly path: string;
  readonly uri: string;
  readonly size: number;
  /** The bytes from `begin` to `end` (clamped to the size), valid until the next call; copy what must last longer. */
  read(begin: number, end: number): Promise<Uint8Array>;
  /** The text of a sidecar object beside the shard (`<path>.idx`), or undefined where there is none. */
  sidecar(path: string): Promise<Uint8Array | undefined>;
  readonly signal: AbortSignal | undefined;
  /** Longer records are MILLRACE_CORRUPT. */
  readonly maxRecordBytes: number;
  /** "skip": a bad tail ends the index there, counted in `damage`. */
  readonly onError: "throw" | "skip";
}

/** Where the records of one shard are. */
export interface RecordIndex {
  /** First byte of each record; in the inflated bytes where the shard is compressed. */
  readonly begins: Float64Array;
  /** End (exclusive) of each record. */
  readonly ends: Float64Array;
  /** Sample keys, where the format has them; else shard name + ordinal. */
  readonly keys?: readonly string[] | undefined;
  /** Size of the shard once inflated; undefined for shards that are not compressed. */
  readonly inflatedSize?: number | undefined;
  /** What was left out, by `onError: "skip"`. */
  readonly damage?: { readonly offset: number; readonly message: string } | undefined;
  /** Worth a warning in the log: a sidecar that was not used, and why. */
  readonly note?: string | undefined;
}

/** A record's fields before they are made to fit their declaration. */
export type RawValue =
  | Uint8Array
  | string
  | number
  | bigint
  | Float32Array
  | Float64Array
  | BigInt64Array
  | Int32Array
  | readonly Uint8Array[]
  | object;
/** Fields of one sample by name; one that is undefined is missing. */
export type RawSample = Record<string, RawValue | undefined>;

/** One record where it lies, and what a format needs beside its bytes. It may be moved to another record after the call it is given to. */
export interface RawRecord {
  /** Memory that holds the record, and others around it. */
  readonly bytes: Uint8Array;
  readonly begin: number;
  /** Exclusive. */
  readonly end: number;
  /** Path of the shard, for messages and for formats whose fields depend on it (files: the class). Made when asked for. */
  readonly shardPath: string;
  readonly classes: readonly string[] | undefined;
}

/** One dataset format. Pure but for the reads it asks of its ShardReader. */
export interface RecordFormat {
  readonly name: string;
  /** True where every object is one record: no index needs to be built, read or kept (`index` reads nothing). */
  readonly wholeObjects?: true;
  /** True where the name of an object says that it is a shard of this format. */
  matches(path: string): boolean;
  /** True where the shard must be read whole and inflated before its records can be read. */
  compressed(path: string): boolean;
  index(reader: ShardReader): Promise<RecordIndex>;
  /**
   * The wanted fields of one record, filled into `sample`, whose fields must be undefined; a new one by default. Bytes are views of the
   * record's memory; other arrays may be filled anew by the next call with the same `wanted`, which is undefined for "all". A field the
   * record lacks is left as it is. Throws MILLRACE_CORRUPT, MILLRACE_FORMAT.
   */
  fields(record: RawRecord, wanted: ReadonlySet<string> | undefined, sample?: RawSample): RawSample;
  /** The fields to declare when the caller declares none, from the dataset's first record. */
  defaultFields(firstRecord: RawRecord): Fields;
}
