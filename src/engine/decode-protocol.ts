/** What the decode pool and its workers say to each other. */
import type { Fields } from "../api.js";
import type { AssembledBatch, BatchInput, BatchRow } from "../loader/assemble.js";
import type { WireError } from "./wire-error.js";

/** All that a worker needs to know of a loader. */
export interface DecodeSetup {
  /** Name of the format. */
  readonly format: string;
  readonly fields: Fields;
  readonly classes: readonly string[] | undefined;
  readonly root: string;
  readonly onError: "throw" | "skip";
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

/** A batch's rows, packed: record bytes stay where they are if they lie in shared memory. */
export interface PackedRows {
  /** Memory of the records. */
  readonly buffers: readonly (SharedArrayBuffer | ArrayBuffer)[];
  /** Buffer, offset and length of each record. */
  readonly spans: Float64Array;
  readonly keys: readonly string[];
  readonly indices: Float64Array;
  readonly paths: readonly string[];
  /** Which of the paths is each row's. */
  readonly pathOf: Uint32Array;
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
export function packRows(rows: BatchInput["rows"]): { readonly packed: PackedRows; readonly transfer: ArrayBuffer[] } {
  const buffers: (SharedArrayBuffer | ArrayBuffer)[] = [];
  const spans = new Float64Array(rows.length * 3);
  const numberOf = new Map<unknown, number>();
  const paths = new Map<string, number>();
  const pathOf = new Uint32Array(rows.length);
  const own = rows.reduce((sum, { bytes }) => (bytes.buffer instanceof SharedArrayBuffer ? sum : sum + bytes.length), 0);
  const copies = new Uint8Array(own);
  let copied = 0;
  for (let row = 0; row < rows.length; row++) {
    const { bytes, shardPath } = rows[row]!;
    const shared = bytes.buffer instanceof SharedArrayBuffer;
    const buffer = shared ? bytes.buffer : copies.buffer;
    let number = numberOf.get(buffer);
    if (number === undefined) {
      number = buffers.push(buffer) - 1;
      numberOf.set(buffer, number);
    }
    spans.set([number, shared ? bytes.byteOffset : copied, bytes.length], row * 3);
    if (!shared) {
      // Inflated or joined records: whoever holds them keeps them, this thread only lends them.
      copies.set(bytes, copied);
      copied += bytes.length;
    }
    if (!paths.has(shardPath)) paths.set(shardPath, paths.size);
    pathOf[row] = paths.get(shardPath)!;
  }
  const indices = Float64Array.from(rows, ({ index }) => index);
  const packed = { buffers, spans, keys: rows.map(({ key }) => key), indices, paths: [...paths.keys()], pathOf };
  return { packed, transfer: own > 0 ? [copies.buffer] : [] };
}

export function unpackRows({ buffers, spans, keys, indices, paths, pathOf }: PackedRows): BatchRow[] {
  return keys.map((key, row) => ({
    bytes: new Uint8Array(buffers[spans[row * 3]!]!, spans[row * 3 + 1]!, spans[row * 3 + 2]!),
    key,
    index: indices[row]!,
    shardPath: paths[pathOf[row]!]!,
  }));
}
