/** A batch as the caller gets it, over the memory that the engine has handed over. */
import type {
  Batch as BatchOf,
  BytesColumn,
  Column,
  DType,
  Fields,
  LoaderState,
  RaggedColumn,
  SampleOf,
  TypedArrays,
  ValuesColumn,
} from "../api.js";
import type { AssembledBatch } from "./assemble.js";
import type { AnyArray } from "./elements.js";
import { type FieldPlan, fieldPlans } from "./fit.js";
import type { WireColumn } from "./wire-column.js";

export interface BatchFacts {
  readonly epoch: number;
  readonly step: number;
  /** The declared fields of the columns. */
  readonly fields: Fields;
  readonly state: LoaderState;
  /** A sample's key by its number. */
  readonly key: (index: number) => string;
  /** Where the memory goes that `release` gives back; undefined: `release` does nothing. */
  readonly recycle: ((buffers: ArrayBuffer[]) => void) | undefined;
}

export class Batch<F> implements BatchOf<F> {
  readonly epoch: number;
  readonly step: number;
  readonly size: number;
  readonly padding: number;
  /** Of all rows of the columns: the real ones, then those that pad. */
  readonly indices: Float64Array;
  readonly columns: BatchOf<F>["columns"];
  readonly state: LoaderState;
  readonly #facts: BatchFacts;
  #keys: readonly string[] | undefined;
  #released = false;

  constructor(assembled: AssembledBatch, facts: BatchFacts) {
    this.epoch = facts.epoch;
    this.step = facts.step;
    this.size = assembled.size;
    this.padding = assembled.padding;
    this.indices = assembled.indices;
    this.state = facts.state;
    this.#facts = facts;
    const columns: Record<string, Column> = {};
    for (const [name, column] of Object.entries(assembled.columns)) columns[name] = columnOf(column);
    this.columns = columns as BatchOf<F>["columns"];
  }

  /** Of all rows, as `indices`; made when first asked for. */
  get keys(): readonly string[] {
    this.#keys ??= Array.from(this.indices, this.#facts.key);
    return this.#keys;
  }

  /** Arrays in the samples are views of the batch's memory: good until `release`. */
  *samples(): Generator<SampleOf<F>, void, undefined> {
    const plans = fieldPlans(this.#facts.fields);
    for (let row = 0; row < this.size; row++) {
      const sample: Record<string, unknown> = {};
      for (const plan of plans) sample[plan.name] = rowValue(plan, (this.columns as Record<string, Column>)[plan.name]!, row);
      yield sample as SampleOf<F>;
    }
  }

  release(): void {
    const { recycle } = this.#facts;
    if (recycle === undefined || this.#released) return;
    this.#released = true;
    const buffers: ArrayBuffer[] = [];
    for (const column of Object.values<Column>(this.columns as Record<string, Column>)) {
      const memory = column.kind === "tensor" ? column.data : column.kind === "values" ? undefined : column.values;
      // What the caller has transferred elsewhere is his, and empty here.
      if (memory !== undefined && memory.buffer.byteLength > 0) buffers.push(memory.buffer);
    }
    recycle(buffers);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function columnOf(wire: WireColumn): Column {
  switch (wire.kind) {
    case "tensor":
      return wire;
    case "ragged":
      return new Ragged(wire.dtype, wire.values, wire.offsets);
    case "bytes":
      return new Bytes(wire.values, wire.offsets);
    default:
      return new Values(wire.values);
  }
}

class Ragged implements RaggedColumn {
  readonly kind = "ragged";
  readonly dtype: DType;
  readonly values: AnyArray;
  readonly offsets: Float64Array;

  constructor(dtype: DType, values: AnyArray, offsets: Float64Array) {
    this.dtype = dtype;
    this.values = values;
    this.offsets = offsets;
  }

  at(row: number): AnyArray {
    checkRow(row, this.offsets.length - 1);
    return this.values.subarray(this.offsets[row]!, this.offsets[row + 1]!);
  }
}

class Bytes implements BytesColumn {
  readonly kind = "bytes";
  readonly values: TypedArrays["uint8"];
  readonly offsets: Float64Array;

  constructor(values: TypedArrays["uint8"], offsets: Float64Array) {
    this.values = values;
    this.offsets = offsets;
  }

  at(row: number): TypedArrays["uint8"] {
    checkRow(row, this.offsets.length - 1);
    return this.values.subarray(this.offsets[row]!, this.offsets[row + 1]!);
  }
}

class Values implements ValuesColumn<unknown> {
  readonly kind = "values";
  readonly values: readonly unknown[];

  constructor(values: readonly unknown[]) {
    this.values = values;
  }

  at(row: number): unknown {
    checkRow(row, this.values.length);
    return this.values[row];
  }
}

function checkRow(row: number, rows: number): void {
  if (!Number.isInteger(row) || row < 0 || row >= rows) throw new RangeError(`row ${row} is not one of 0 to ${rows - 1}`);
}

function rowValue(plan: FieldPlan, column: Column, row: number): unknown {
  if (column.kind !== "tensor") return column.at(row);
  if (plan.bare) return column.data[row];
  const stride = column.shape.slice(1).reduce((product, dimension) => product * dimension, 1);
  const all = column.data.subarray(row * stride, (row + 1) * stride);
  return column.lengths === undefined ? all : unpadded(plan, column.shape, all, column.lengths[row]!);
}

/** A padded row as it was before: a view where the open dimension is the first, else a copy. */
function unpadded(plan: FieldPlan, shape: readonly number[], padded: AnyArray, length: number): AnyArray {
  const open = plan.shape.indexOf(null);
  const inner = shape.slice(open + 2).reduce((product, dimension) => product * dimension, 1);
  if (open === 0) return padded.subarray(0, length * inner);
  const outer = plan.unit / inner;
  const long = shape[open + 1]! * inner;
  const row = padded.slice(0, outer * length * inner) as Uint8Array<ArrayBuffer>;
  for (let i = 0; i < outer; i++) row.set((padded as Uint8Array).subarray(i * long, i * long + length * inner), i * length * inner);
  return row;
}
