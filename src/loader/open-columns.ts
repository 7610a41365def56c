/** Builders of columns whose rows differ in length: ragged ones, and those padded to the longest row. */
import { type BatchMemory, newArray } from "./batch-memory.js";
import { ARRAYS } from "./elements.js";
import { areRawBytes, checkCount, copyElements, countOf, type Elements, elementsOf, type ValueSource } from "./field-value.js";
import { type FieldPlan, missing } from "./fit.js";
import type { ColumnBuilder, WireColumn } from "./wire-column.js";

/** Rows of different lengths: what is common to ragged and padded columns. */
abstract class OpenBuilder implements ColumnBuilder {
  protected readonly plan: FieldPlan;
  protected readonly source: ValueSource;
  protected readonly memory: BatchMemory;
  protected readonly rows: Elements[] = [];
  /** `rows + 1` element offsets. */
  protected readonly offsets: Float64Array;

  constructor(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory) {
    this.plan = plan;
    this.source = source;
    this.memory = memory;
    this.offsets = new Float64Array(rows + 1);
  }

  push(value: unknown, sample: object): void {
    const row = this.rows.length;
    if (value === undefined && !this.plan.optional) throw missing(this.plan, Object.keys(sample));
    const elements = value === undefined ? new ARRAYS[this.plan.dtype](0) : this.#kept(elementsOf(this.plan, value, this.source));
    const count = countOf(this.plan, elements, this.source);
    checkCount(this.plan, count);
    this.rows.push(elements);
    this.offsets[row + 1] = this.offsets[row]! + count;
  }

  truncate(rows: number): void {
    if (rows < this.rows.length) this.rows.length = rows;
  }

  abstract finish(): WireColumn;

  /** Elements that can be copied later without a check, and that nobody changes until then. */
  #kept(elements: Elements): Elements {
    const { plan, source } = this;
    if (source === "record" && (areRawBytes(elements, source) || elements instanceof ARRAYS[plan.dtype])) return elements;
    // A decoder may fill the same array again for its next sample.
    const copy = new ARRAYS[plan.dtype](elements.length);
    copyElements(plan, elements, source, copy, 0);
    return copy;
  }
}

export class RaggedBuilder extends OpenBuilder {
  finish(): WireColumn {
    const { plan, source, rows } = this;
    const offsets = this.offsets.slice(0, rows.length + 1);
    const values = newArray(plan.dtype, offsets[rows.length]!, this.memory);
    for (let row = 0; row < rows.length; row++) copyElements(plan, rows[row]!, source, values, offsets[row]!);
    return { kind: "ragged", dtype: plan.dtype, values, offsets };
  }
}

export class PaddedBuilder extends OpenBuilder {
  finish(): WireColumn {
    const { plan, source, rows, offsets } = this;
    const lengths = new Int32Array(rows.length);
    let longest = 0;
    for (let row = 0; row < rows.length; row++) {
      lengths[row] = (offsets[row + 1]! - offsets[row]!) / plan.unit;
      longest = Math.max(longest, lengths[row]!);
    }
    const data = newArray(plan.dtype, rows.length * longest * plan.unit, this.memory);
    (data as Uint8Array).fill((plan.dtype === "int64" || plan.dtype === "uint64" ? BigInt(plan.pad) : plan.pad) as number);
    // The dimensions before the open one are rows of their own, each padded.
    const inner = plan.shape.slice(plan.shape.indexOf(null) + 1).reduce<number>((product, dimension) => product * dimension!, 1);
    const outer = plan.unit / inner;
    for (let row = 0; row < rows.length; row++) {
      const part = lengths[row]! * inner;
      const width = areRawBytes(rows[row]!, source) ? ARRAYS[plan.dtype].BYTES_PER_ELEMENT : 1;
      for (let i = 0; i < outer; i++) {
        const elements = outer === 1 ? rows[row]! : (rows[row] as Uint8Array).subarray(i * part * width, (i + 1) * part * width);
        copyElements(plan, elements, source, data, (row * outer + i) * longest * inner);
      }
    }
    const shape = [rows.length, ...plan.shape.map((dimension) => dimension ?? longest)];
    return { kind: "tensor", dtype: plan.dtype, shape, data, lengths };
  }
}
