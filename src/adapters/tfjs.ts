/**
 * `millrace/tfjs`: a loader as a dataset for `model.fitDataset` and `model.evaluateDataset`, and models loaded and saved through the mill.
 * TensorFlow.js is no dependency: whatever build of it the caller has is handed in as `tf`.
 */
import type { Batch, Column, DType, Epoch, Loader, TensorColumn } from "../api.js";
import { MillraceError } from "../errors.js";

export * from "./tfjs-io.js";

/** The parts of TensorFlow.js that are used; `import * as tf from "@tensorflow/tfjs"` (or `-node`, `-core`) fits. */
export interface TensorFlow {
  tensor(values: Float32Array | Int32Array, shape: number[], dtype: "float32" | "int32"): unknown;
  tidy(body: () => never): unknown;
}
/** `tf.Tensor` of the TensorFlow.js that was handed in. */
export type TensorOf<TF extends TensorFlow> = ReturnType<TF["tensor"]>;

/** Makes one tensor of a batch. Runs in `tf.tidy`: only what it returns is kept, and it must not be async. */
export type TensorMaker<TF extends TensorFlow, F> = (batch: Batch<F>, tf: TF) => TensorOf<TF>;
/** Where a tensor comes from: a column's name, or a function for what a column does not give as it is (one-hot, scaling). */
export type TensorSource<TF extends TensorFlow, F> = (keyof F & string) | TensorMaker<TF, F>;
/** One tensor, or several for models of several inputs or outputs: in the model's order, or by its names. */
export type TensorSources<TF extends TensorFlow, F> =
  | TensorSource<TF, F>
  | readonly TensorSource<TF, F>[]
  | Readonly<Record<string, TensorSource<TF, F>>>;
export type Tensors<TF extends TensorFlow> = TensorOf<TF> | TensorOf<TF>[] | { [name: string]: TensorOf<TF> };

export interface TfDatasetOptions<TF extends TensorFlow, F> {
  xs: TensorSources<TF, F>;
  ys: TensorSources<TF, F>;
  /**
   * Loader epochs that one iterator runs through. Default 1: each epoch of `fitDataset` is one epoch of the loader.
   * Given `batchesPerEpoch`, fitDataset keeps one iterator for all its epochs: then give the number of epochs here.
   */
  epochs?: number | undefined;
  /**
   * The loader epoch that training ends before. Where it is given, reading goes on into the next epoch while this one is
   * validated; left out, nothing is read beyond the epoch (or `epochs`) of the iterator.
   */
  until?: number | undefined;
  /**
   * Every iterator gives the same epoch again from its start, also after one that was left in the middle: for validation data.
   * Default false: iterators go on where the loader stands, so that each epoch is shuffled anew and a resumed loader goes on.
   */
  repeat?: boolean | undefined;
}
export interface TfIterator<T> {
  next(): Promise<IteratorResult<T, undefined>>;
  /** Ends the epoch early and frees what was read ahead for it. */
  return(): Promise<void>;
}
/** What `fitDataset`, `evaluateDataset` and `validationData` take. */
export interface TfDataset<T> {
  /** Steps of one loader epoch: what the progress of fitDataset counts up to. */
  readonly size: number;
  iterator(): Promise<TfIterator<T>>;
}

/**
 * The loader's batches as `{ xs, ys }` tensors. Nothing is read before an iterator's first `next()`, and one that is never
 * pulled (fitDataset makes such a one) costs nothing. TensorFlow.js never says that it is done with an iterator: pulling from
 * a new one closes the one before, and closing the loader closes the last. The tensors of a batch belong to the caller
 * (fitDataset disposes of them). A batch whose samples were all skipped is passed over.
 *
 * Nothing is pulled ahead, so in `onBatchEnd` `loader.state()` is the state after the batch just trained on.
 *
 * Throws MILLRACE_CONFIG (no such column, a column that is no tensor), MILLRACE_FORMAT (an integer that int32 cannot hold),
 * and whatever the loader throws; fitDataset rejects with it.
 */
export function tfDataset<TF extends TensorFlow, F>(
  tf: TF,
  loader: Loader<F>,
  options: TfDatasetOptions<TF, F>,
): TfDataset<{ xs: Tensors<TF>; ys: Tensors<TF> }> {
  const epochs = options.epochs ?? 1;
  if (!Number.isSafeInteger(epochs) || epochs < 1)
    throw new MillraceError("MILLRACE_CONFIG", `epochs: expected a whole number above 0, got ${String(epochs)}`);
  const repeated = options.repeat ? loader.position.epoch : undefined;
  let pulled: AsyncGenerator<unknown, undefined> | undefined;

  async function* batches(): AsyncGenerator<{ xs: Tensors<TF>; ys: Tensors<TF> }, undefined> {
    for (const epoch of epochsOf(loader, repeated, epochs, options.until))
      for await (const batch of epoch) if (batch.size + batch.padding > 0) yield tensorsOf(tf, batch, options);
    return undefined;
  }
  function iterator(): TfIterator<{ xs: Tensors<TF>; ys: Tensors<TF> }> {
    const generator = batches();
    let started = false;
    async function takeOver(): Promise<void> {
      started = true;
      const previous = pulled;
      pulled = generator;
      await previous?.return(undefined);
    }
    return {
      async next() {
        if (!started) await takeOver();
        return generator.next();
      },
      async return() {
        await generator.return(undefined);
      },
    };
  }
  return { size: loader.stepsPerEpoch, iterator: async () => iterator() };
}

/** The epochs of one iterator, begun lazily: the repeated ones from their start, else from where the loader stands. */
function* epochsOf<F>(loader: Loader<F>, repeated: number | undefined, count: number, until: number | undefined): Iterable<Epoch<F>> {
  const first = repeated ?? loader.position.epoch;
  if (repeated !== undefined) for (let i = 0; i < count; i++) yield loader.epoch(first + i);
  else
    for (const epoch of loader.epochs(until ?? first + count)) {
      yield epoch;
      if (epoch.number + 1 === first + count) return;
    }
}

function tensorsOf<TF extends TensorFlow, F>(
  tf: TF,
  batch: Batch<F>,
  options: TfDatasetOptions<TF, F>,
): { xs: Tensors<TF>; ys: Tensors<TF> } {
  // tidy frees what the caller's functions leave behind, and everything if one of them throws.
  const body = () => ({ xs: build(tf, batch, options.xs, "xs"), ys: build(tf, batch, options.ys, "ys") });
  const made = tf.tidy(body as () => never);
  // Memory that a tensor may still look at never goes back for reuse: it becomes garbage with the tensor.
  if (!mayShare(batch, options.xs) && !mayShare(batch, options.ys)) batch.release();
  return made as { xs: Tensors<TF>; ys: Tensors<TF> };
}

function build<TF extends TensorFlow, F>(tf: TF, batch: Batch<F>, sources: TensorSources<TF, F>, option: string): unknown {
  if (typeof sources === "function") return sources(batch, tf);
  if (typeof sources === "string") return columnTensor(tf, batch, sources, option);
  if (Array.isArray(sources)) return sources.map((source, i) => build(tf, batch, source, `${option}[${i}]`));
  const entries = Object.entries(sources as Readonly<Record<string, TensorSource<TF, F>>>);
  return Object.fromEntries(entries.map(([name, source]) => [name, build(tf, batch, source, `${option}.${name}`)]));
}

/** True where a tensor made of these sources may hold the batch's own memory. */
function mayShare<TF extends TensorFlow, F>(batch: Batch<F>, sources: TensorSources<TF, F>): boolean {
  if (typeof sources === "function") return true;
  if (typeof sources === "string") return isKept(tensorColumn(batch, sources, sources).dtype);
  return Object.values(sources).some((source: TensorSource<TF, F>) => mayShare(batch, source));
}

function isKept(dtype: DType): dtype is "float32" | "int32" {
  return dtype === "float32" || dtype === "int32";
}

/**
 * One column as a tensor `[rows, ...sample shape]`. float32 and int32 columns are handed over without a copy: TensorFlow.js
 * then holds the batch's own memory. float64 becomes float32. uint8, int8, uint16 and int16 become int32 (uint8 masks
 * too: `tf.cast(t, "bool")` where a bool is wanted). uint32, int64 and uint64 become int32 where every value fits.
 * For use in a `TensorMaker`: `(batch, tf) => tf.oneHot(columnTensor(tf, batch, "label"), 10)`.
 * Throws MILLRACE_CONFIG for a column that is not there or is no tensor, MILLRACE_FORMAT for an integer that does not fit.
 */
export function columnTensor<TF extends TensorFlow, F>(
  tf: TF,
  batch: Batch<F>,
  name: keyof F & string,
  option: string = name,
): TensorOf<TF> {
  const column = tensorColumn(batch, name, option);
  const { data, dtype } = column;
  const shape = [...column.shape];
  if (data instanceof Float32Array || dtype === "float64")
    return tf.tensor(data instanceof Float32Array ? data : new Float32Array(data as Float64Array), shape, "float32") as TensorOf<TF>;
  return tf.tensor(data instanceof Int32Array ? data : toInt32(batch, name, column), shape, "int32") as TensorOf<TF>;
}

function tensorColumn<F>(batch: Batch<F>, name: keyof F & string, option: string): TensorColumn {
  const column: Column | undefined = (batch.columns as Readonly<Record<string, Column>>)[name];
  if (column?.kind === "tensor") return column;
  const names = Object.keys(batch.columns).join(", ");
  throw new MillraceError(
    "MILLRACE_CONFIG",
    column === undefined
      ? `${option}: there is no column "${name}"; the columns are ${names}`
      : `${option}: column "${name}" is ${column.kind}, not a tensor; declare its shape (with "pad" where it varies), decode it, or give a function`,
  );
}

function toInt32<F>(batch: Batch<F>, name: string, column: TensorColumn): Int32Array {
  const { data, dtype } = column;
  if (data instanceof Uint8Array || data instanceof Int8Array || data instanceof Uint16Array || data instanceof Int16Array)
    return new Int32Array(data);
  const values = new Int32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (value !== (value | 0)) {
      const row = Math.floor((i * column.shape[0]!) / data.length);
      throw new MillraceError(
        "MILLRACE_FORMAT",
        `column "${name}": ${dtype} value ${data[i]} does not fit int32, the only integer of TensorFlow.js`,
        {
          sample: { key: batch.keys[row]!, index: batch.indices[row]! },
        },
      );
    }
    values[i] = value;
  }
  return values;
}
