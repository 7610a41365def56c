/** What the decode pool and its workers say to each other. */
import type { Fields } from "../api.js";
import type { ManifestBuffers } from "../formats/manifest.js";
import type { AssembledBatch } from "../loader/assemble.js";
import { BatchRows, type RowNames } from "../loader/batch-rows.js";
import { copyRange, uninitializedBuffer } from "../util/copy-bytes.js";
import type { WireError } from "./wire-error.js";

/** All that a worker needs to know of a loader. */
export interface DecodeSetup {
  /** Name of the format. */
  readonly format: string;
  readonly fields: Fields;
  readonly classes: readonly string[] | undefined;
  readonly root: string;
  readonly onError: "throw" | "skip";
  readonly recycle: boolean;
  /** Names the samples; on shared memory. */
  readonly manifest: ManifestBuffers;
  readonly decoder: { readonly url: string; readonly output: Fields; readonly args: unknown };
  readonly seed: number;
  readonly timeoutMs: number;
}
export interface DecodeWorkerData {
  /** Tells `openMillrace` that it is inside one of our own workers. */
  readonly millrace: "decode";
  readonly setup: DecodeSetup;
  /** `Int32Array`: the row being worked on (−1: none yet), and the job that is to be given up. */
  readonly progress: SharedArrayBuffer;
}
export const AT_ROW = 0;
export const ABORTED_JOB = 1;

/** A batch's rows, packed: a handful of arrays however many they are. Records stay where they are if they lie in shared memory. */
export interface PackedRows {
  /** Memory of the records. */
  readonly buffers: readonly (SharedArrayBuffer | ArrayBuffer)[];
  /** Buffer, begin and end of each record. */
  readonly spans: Float64Array;
  readonly indices: Float64Array;
  readonly samples: Float64Array;
}
export interface DecodeJob {
  readonly t: "job";
  readonly id: number;
  readonly epoch: number;
  readonly padding: number;
  readonly rows: PackedRows;
  readonly without: readonly number[];
  /** Memory to build the batch in. */
  readonly memory: ArrayBuffer[];
}
export type ToDecodeWorker = DecodeJob | { readonly t: "abort"; readonly id: number };
export type FromDecodeWorker =
  | { readonly t: "ready" }
  | { readonly t: "failed"; readonly error: WireError }
  | { readonly t: "done"; readonly id: number; readonly batch: AssembledBatch }
  | { readonly t: "error"; readonly id: number; readonly error: WireError };

/** Packs rows for another thread; `transfer` is memory of the message's own. */
export function packRows(rows: BatchRows): { readonly packed: PackedRows; readonly transfer: ArrayBuffer[] } {
  const { count, begins, ends } = rows;
  const buffers: (SharedArrayBuffer | ArrayBuffer)[] = [];
  const spans = new Float64Array(count * 3);
  const numberOf = new Map<unknown, number>();
  const own = new OwnRecords(rows);
  for (let row = 0; row < count; row++) {
    const bytes = rows.bytes[row]!;
    const shared = bytes.buffer instanceof SharedArrayBuffer;
    const buffer = shared ? bytes.buffer : own.bytes.buffer;
    let number = numberOf.get(buffer);
    if (number === undefined) {
      number = buffers.push(buffer) - 1;
      numberOf.set(buffer, number);
    }
    const begin = shared ? bytes.byteOffset + begins[row]! : own.add(row);
    spans[row * 3] = number;
    spans[row * 3 + 1] = begin;
    spans[row * 3 + 2] = begin + ends[row]! - begins[row]!;
  }
  const packed = { buffers, spans, indices: rows.indices.slice(0, count), samples: rows.samples.slice(0, count) };
  return { packed, transfer: own.bytes.length > 0 ? [own.bytes.buffer] : [] };
}

/** Copies of records in memory that is not shared, inflated or joined: whoever holds them keeps them, this thread only lends them. */
class OwnRecords {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #rows: BatchRows;
  #end = 0;

  constructor(rows: BatchRows) {
    let byteLength = 0;
    for (let row = 0; row < rows.count; row++)
      if (!(rows.bytes[row]!.buffer instanceof SharedArrayBuffer)) byteLength += rows.ends[row]! - rows.begins[row]!;
    this.bytes = new Uint8Array(uninitializedBuffer(byteLength));
    this.#rows = rows;
  }

  /** Copies a row's record, and returns where it begins. */
  add(row: number): number {
    const { bytes, begins, ends } = this.#rows;
    const begin = this.#end;
    copyRange(this.bytes, begin, bytes[row]!, begins[row]!, ends[row]!);
    this.#end += ends[row]! - begins[row]!;
    return begin;
  }
}

export function unpackRows({ buffers, spans, indices, samples }: PackedRows, names: RowNames): BatchRows {
  const rows = new BatchRows(names, indices.length);
  const memory = buffers.map((buffer) => new Uint8Array(buffer));
  for (let row = 0; row < indices.length; row++) {
    rows.add(indices[row]!);
    rows.place(row, samples[row]!, memory[spans[row * 3]!]!, spans[row * 3 + 1]!, spans[row * 3 + 2]!);
  }
  return rows;
}
