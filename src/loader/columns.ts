/**
 * Builds the columns of one batch, row by row. Bytes go once from the record to the memory that the caller gets:
 * columns of known size, and those of bytes, are written as rows come; ragged and padded ones keep views until their size is known.
 */
import { fieldNames } from "../formats/raw-sample.js";
import { copyBytes } from "../util/copy-bytes.js";
import { type BatchMemory, newArray } from "./batch-memory.js";
import { type ElementMemory, elementMemory } from "./elements.js";
import { bytesOf, checkCount, copyElements, countOf, elementsOf, textOrJson, type ValueSource } from "./field-value.js";
import { type FieldPlan, missing } from "./fit.js";
import { PaddedBuilder, RaggedBuilder } from "./open-columns.js";
import type { ColumnBuilder, WireColumn } from "./wire-column.js";

/** A builder for at most `rows` rows. Bytes from a record must stay as they are until `finish`. `expectedBytes`: of a column of bytes, as far as known. */
export function columnBuilder(
  plan: FieldPlan,
  rows: number,
  source: ValueSource,
  memory: BatchMemory,
  expectedBytes: number,
): ColumnBuilder {
  switch (plan.kind) {
    case "tensor":
      return new TensorBuilder(plan, rows, source, memory);
    case "padded":
      return new PaddedBuilder(plan, rows, source, memory);
    case "ragged":
      return new RaggedBuilder(plan, rows, source, memory);
    case "bytes":
      return new BytesBuilder(plan, rows, memory, expectedBytes);
    default:
      return new ValuesBuilder(plan, source);
  }
}

class TensorBuilder implements ColumnBuilder {
  readonly #plan: FieldPlan;
  readonly #source: ValueSource;
  readonly #memory: BatchMemory;
  readonly #capacity: number;
  readonly #data: ElementMemory;
  #rows = 0;

  constructor(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory) {
    this.#plan = plan;
    this.#source = source;
    this.#memory = memory;
    this.#capacity = rows;
    this.#data = elementMemory(newArray(plan.dtype, rows * plan.unit, memory));
  }

  push(value: unknown, sample: object): void {
    const plan = this.#plan;
    const at = this.#rows * plan.unit;
    if (value === undefined) {
      if (!plan.optional) throw missing(plan, fieldNames(sample));
      // Memory given back is not empty.
      (this.#data.array as Uint8Array).fill((plan.dtype === "int64" || plan.dtype === "uint64" ? 0n : 0) as number, at, at + plan.unit);
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
    let data = this.#data.array;
    if (this.#rows < this.#capacity) {
      data = newArray(dtype, this.#rows * unit, this.#memory);
      (data as Uint8Array).set((this.#data.array as Uint8Array).subarray(0, this.#rows * unit));
      this.#memory.give([this.#data.array.buffer]);
    }
    return { kind: "tensor", dtype, shape: [this.#rows, ...(shape as readonly number[])], data };
  }
}

/** A buffer that grows is made this much larger than it need be now. */
const GROWTH = 1.25;

/** Copies each row as it comes, while its record is in the processor's cache: the checksum has just read it, and a second look costs four times the first. */
class BytesBuilder implements ColumnBuilder {
  readonly #plan: FieldPlan;
  readonly #memory: BatchMemory;
  #values: Uint8Array<ArrayBuffer>;
  readonly #offsets: Float64Array;
  #rows = 0;

  constructor(plan: FieldPlan, rows: number, memory: BatchMemory, expectedBytes: number) {
    this.#plan = plan;
    this.#memory = memory;
    this.#values = new Uint8Array(memory.take(expectedBytes));
    this.#offsets = new Float64Array(rows + 1);
  }

  push(value: unknown, sample: object): void {
    if (value === undefined) throw missing(this.#plan, fieldNames(sample));
    const bytes = bytesOf(this.#plan, value);
    const begin = this.#offsets[this.#rows]!;
    const end = begin + bytes.length;
    if (end > this.#values.length) this.#move(Math.ceil(end * GROWTH), begin);
    copyBytes(this.#values, begin, bytes);
    this.#offsets[++this.#rows] = end;
  }

  truncate(rows: number): void {
    this.#rows = Math.min(this.#rows, rows);
  }

  finish(): WireColumn {
    const length = this.#offsets[this.#rows]!;
    if (!this.#memory.fits(this.#values.length, length)) this.#move(length, length);
    return { kind: "bytes", values: this.#values.subarray(0, length), offsets: this.#offsets.slice(0, this.#rows + 1) };
  }

  /** To memory of another size, with the first `length` bytes. */
  #move(byteLength: number, length: number): void {
    const before = this.#values;
    this.#values = new Uint8Array(this.#memory.take(byteLength));
    copyBytes(this.#values, 0, before.subarray(0, length));
    this.#memory.give([before.buffer]);
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
    if (value === undefined) throw missing(this.#plan, fieldNames(sample));
    this.#values.push(textOrJson(this.#plan, value, this.#source));
  }

  truncate(rows: number): void {
    if (rows < this.#values.length) this.#values.length = rows;
  }

  finish(): WireColumn {
    return { kind: "values", values: this.#values };
  }
}
