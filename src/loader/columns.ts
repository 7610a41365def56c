/**
 * Builds the columns of one batch, row by row. Bytes go once from the record to the memory that the caller gets:
 * columns of known size are written as rows come, the others keep views until their size is known.
 */
import type { TypedArrays } from "../api.js";
import { copyBytes } from "../util/copy-bytes.js";
import { type BatchMemory, newArray } from "./batch-memory.js";
import type { AnyArray } from "./elements.js";
import { bytesOf, checkCount, copyElements, countOf, elementsOf, textOrJson, type ValueSource } from "./field-value.js";
import { type FieldPlan, missing } from "./fit.js";
import { PaddedBuilder, RaggedBuilder } from "./open-columns.js";
import type { ColumnBuilder, WireColumn } from "./wire-column.js";

/** A builder for at most `rows` rows. Values from a record must stay as they are until `finish`. */
export function columnBuilder(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory): ColumnBuilder {
  switch (plan.kind) {
    case "tensor":
      return new TensorBuilder(plan, rows, source, memory);
    case "padded":
      return new PaddedBuilder(plan, rows, source, memory);
    case "ragged":
      return new RaggedBuilder(plan, rows, source, memory);
    case "bytes":
      return new BytesBuilder(plan, rows, source, memory);
    default:
      return new ValuesBuilder(plan, source);
  }
}

class TensorBuilder implements ColumnBuilder {
  readonly #plan: FieldPlan;
  readonly #source: ValueSource;
  readonly #memory: BatchMemory;
  readonly #capacity: number;
  readonly #data: AnyArray;
  #rows = 0;

  constructor(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory) {
    this.#plan = plan;
    this.#source = source;
    this.#memory = memory;
    this.#capacity = rows;
    this.#data = newArray(plan.dtype, rows * plan.unit, memory);
  }

  push(value: unknown, sample: object): void {
    const plan = this.#plan;
    const at = this.#rows * plan.unit;
    if (value === undefined) {
      if (!plan.optional) throw missing(plan, Object.keys(sample));
      // Memory given back is not empty.
      (this.#data as Uint8Array).fill((plan.dtype === "int64" || plan.dtype === "uint64" ? 0n : 0) as number, at, at + plan.unit);
    } else {
      const elements = elementsOf(plan, value, this.#source);
      checkCount(plan, countOf(plan, elements, this.#source));
      copyElements(plan, elements, this.#source, this.#data, at);
    }
    this.#rows++;
  }

  truncate(rows: number): void {
    this.#rows = Math.min(this.#rows, rows);
  }

  finish(): WireColumn {
    const { dtype, shape, unit } = this.#plan;
    let data = this.#data;
    if (this.#rows < this.#capacity) {
      data = newArray(dtype, this.#rows * unit, this.#memory);
      (data as Uint8Array).set((this.#data as Uint8Array).subarray(0, this.#rows * unit));
      this.#memory.give([this.#data.buffer]);
    }
    return { kind: "tensor", dtype, shape: [this.#rows, ...(shape as readonly number[])], data };
  }
}

class BytesBuilder implements ColumnBuilder {
  readonly #plan: FieldPlan;
  readonly #source: ValueSource;
  readonly #memory: BatchMemory;
  readonly #rows: Uint8Array[] = [];
  readonly #offsets: Float64Array;

  constructor(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory) {
    this.#plan = plan;
    this.#source = source;
    this.#memory = memory;
    this.#offsets = new Float64Array(rows + 1);
  }

  push(value: unknown, sample: object): void {
    if (value === undefined) throw missing(this.#plan, Object.keys(sample));
    const bytes = bytesOf(this.#plan, value);
    const row = this.#rows.push(this.#source === "record" ? bytes : bytes.slice());
    this.#offsets[row] = this.#offsets[row - 1]! + bytes.length;
  }

  truncate(rows: number): void {
    if (rows < this.#rows.length) this.#rows.length = rows;
  }

  finish(): WireColumn {
    const count = this.#rows.length;
    const offsets = this.#offsets.slice(0, count + 1);
    const values = newArray("uint8", offsets[count]!, this.#memory) as TypedArrays["uint8"];
    for (let row = 0; row < count; row++) copyBytes(values, offsets[row]!, this.#rows[row]!);
    return { kind: "bytes", values, offsets };
  }
}

class ValuesBuilder implements ColumnBuilder {
  readonly #plan: FieldPlan;
  readonly #source: ValueSource;
  readonly #values: unknown[] = [];

  constructor(plan: FieldPlan, source: ValueSource) {
    this.#plan = plan;
    this.#source = source;
  }

  push(value: unknown, sample: object): void {
    if (value === undefined) throw missing(this.#plan, Object.keys(sample));
    this.#values.push(textOrJson(this.#plan, value, this.#source));
  }

  truncate(rows: number): void {
    if (rows < this.#values.length) this.#values.length = rows;
  }

  finish(): WireColumn {
    return { kind: "values", values: this.#values };
  }
}
