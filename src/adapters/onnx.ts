/**
 * `millrace/onnx`: batches as feeds of an ONNX Runtime session, and sessions whose model comes through the mill.
 * ONNX Runtime is no dependency: whichever package the caller has (`onnxruntime-node`, `-web`) is handed in as `ort`.
 */
import type { Batch, Column, Millrace, TensorColumn } from "../api.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import { beside } from "./beside.js";
import { externalDataNames } from "./onnx-external-data.js";

/** The part of ONNX Runtime that `feeds` uses. */
export interface OnnxTensors<T> {
  readonly Tensor: new (type: never, data: never, dims: never) => T;
}
/** The part of ONNX Runtime that `createSession` uses. */
export interface OnnxSessions<S, O> {
  readonly InferenceSession: { create(model: Uint8Array, options?: O): Promise<S> };
}

/** A column, or a column whose bits mean what no dtype here can say: uint8 as bool, uint16 as float16. */
export type FeedSource<F> = (keyof F & string) | { column: keyof F & string; type: "bool" | "float16" };

/** External data: a file's name beside the model, read through the mill, or its bytes. */
export type ExternalData = string | { path: string; data: Uint8Array };
export type SessionOptions<O> = Omit<O, "externalData"> & {
  /** Files beyond those that the model names itself, which are found and read without being listed. */
  externalData?: readonly ExternalData[] | undefined;
  signal?: AbortSignal | undefined;
};

/** The typed array that holds each tensor type which is not the name of a dtype. */
const BITS_OF = { bool: "uint8", float16: "uint16" } as const;

/**
 * Tensors for `session.run` by input name: `feeds(ort, batch, { input: "image" })`. Every dtype keeps its name (int64 included),
 * utf8 columns become string tensors, and dimensions are the column's: `[rows, ...sample shape]`, padding rows included.
 *
 * Nothing is copied: tensors are views of the batch's memory. With `recycle`, release the batch only when `run` has resolved.
 * Throws MILLRACE_CONFIG for a column that is not there or cannot be a tensor.
 */
export function feeds<T, F>(ort: OnnxTensors<T>, batch: Batch<F>, inputs: Readonly<Record<string, FeedSource<F>>>): Record<string, T> {
  // ONNX Runtime overloads the constructor by element type; what is passed here is checked by the column's kind instead.
  const Tensor = ort.Tensor as unknown as new (type: string, data: unknown, dims: readonly number[]) => T;
  const made: Record<string, T> = {};
  for (const [input, source] of Object.entries(inputs)) {
    const name = typeof source === "string" ? source : source.column;
    const column = (batch.columns as Readonly<Record<string, Column>>)[name];
    if (column?.kind === "values" && typeof source === "string" && column.values.every((value) => typeof value === "string")) {
      made[input] = new Tensor("string", column.values, [column.values.length]);
      continue;
    }
    if (column?.kind !== "tensor") throw new MillraceError("MILLRACE_CONFIG", `inputs.${input}: ${whyNot(batch, name, column)}`);
    made[input] = new Tensor(typeOf(column, source, input), ownMemory(column), column.shape);
  }
  return made;
}

function typeOf<F>(column: TensorColumn, source: FeedSource<F>, input: string): string {
  if (typeof source === "string") return column.dtype;
  if (column.dtype === BITS_OF[source.type]) return source.type;
  throw new MillraceError(
    "MILLRACE_CONFIG",
    `inputs.${input}: ${source.type} is made of ${BITS_OF[source.type]} values, and column "${source.column}" is ${column.dtype}`,
  );
}

/** ONNX Runtime refuses shared memory. Batches are never made of it; a column that a caller built may be. */
function ownMemory(column: TensorColumn): TensorColumn["data"] {
  const buffer: ArrayBufferLike = column.data.buffer;
  return buffer instanceof SharedArrayBuffer ? column.data.slice() : column.data;
}

function whyNot<F>(batch: Batch<F>, name: string, column: Column | undefined): string {
  if (column === undefined) return `there is no column "${name}"; the columns are ${Object.keys(batch.columns).join(", ")}`;
  return `column "${name}" is ${column.kind}, not a tensor; declare its shape (with "pad" where it varies) or decode it`;
}

/**
 * An inference session of the model at `path`, read through the mill and so through its caches. Files that the model keeps
 * tensors in (external data) are found in it and read from beside it. `options` are ONNX Runtime's own, and `signal`.
 *
 * Model and external data are each one array: on Node 20 at most 4 GiB a file.
 * Throws what `mill.readFile` throws (MILLRACE_NOT_FOUND names the missing file), MILLRACE_ABORTED, and MILLRACE_FORMAT where
 * the file is no ONNX model, names files outside its folder, or ONNX Runtime refuses it.
 */
export async function createSession<S, O extends object>(
  ort: OnnxSessions<S, O>,
  mill: Pick<Millrace, "readFile">,
  path: string,
  options: SessionOptions<NoInfer<O>> = {} as SessionOptions<NoInfer<O>>,
): Promise<S> {
  const { externalData: listed = [], signal, ...own } = options;
  const model = await mill.readFile(path, { signal });
  const externalData = await readExternalData(mill, path, externalDataOf(model, path), listed, signal);
  throwIfAborted(signal, `Opening ${path}`);
  try {
    return await ort.InferenceSession.create(model, { ...own, ...(externalData.length > 0 && { externalData }) } as unknown as O);
  } catch (cause) {
    throw new MillraceError("MILLRACE_FORMAT", `${path}: ONNX Runtime refused the model: ${(cause as Error).message}`, { cause });
  }
}

function externalDataOf(model: Uint8Array, path: string): string[] {
  try {
    return externalDataNames(model);
  } catch (cause) {
    throw new MillraceError("MILLRACE_FORMAT", `${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Bytes that the caller gave win; every other file is read once, all at the same time. */
function readExternalData(
  mill: Pick<Millrace, "readFile">,
  modelPath: string,
  named: readonly string[],
  listed: readonly ExternalData[],
  signal: AbortSignal | undefined,
): Promise<{ path: string; data: Uint8Array }[]> {
  const given = listed.filter((file) => typeof file !== "string");
  const wanted = new Set([...named, ...listed.filter((file) => typeof file === "string")]);
  for (const { path } of given) wanted.delete(path);
  const reads = [...wanted].map(async (path) => ({ path, data: await mill.readFile(beside(modelPath, path), { signal }) }));
  return Promise.all([...given, ...reads]);
}
