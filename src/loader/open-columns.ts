/** Builders of columns whose rows differ in length: ragged ones, and those padded to the longest row. */
import { fieldNames } from "../formats/raw-sample.js";
import { copyBytes, copyRange } from "../util/copy-bytes.js";
import { type BatchMemory, newArray } from "./batch-memory.js";
import { ARRAYS, type ElementMemory, elementMemory } from "./elements.js";
import { areRawBytes, checkCount, copyElements, countOf, type Elements, elementsOf, type ValueSource } from "./field-value.js";
import { type FieldPlan, missing } from "./fit.js";
import type { ColumnBuilder, WireColumn } from "./wire-column.js";

const NO_ELEMENTS: Elements = [];

/** Rows of different lengths: what is common to ragged and padded columns. */
abstract class OpenBuilder implements ColumnBuilder {
  protected readonly plan: FieldPlan;
  protected readonly memory: BatchMemory;
  /** By row: its raw bytes, which stay in the record until the column's size is known; undefined where its elements are kept here. */
  protected readonly raw: (Uint8Array | undefined)[] = [];
  /** `rows + 1` element offsets. */
  protected readonly offsets: Float64Array;
  /** The rows' elements at their offsets: a format or decoder may fill its arrays again for the next sample. */
  protected kept: ElementMemory;
  readonly #source: ValueSource;

  constructor(plan: FieldPlan, rows: number, source: ValueSource, memory: BatchMemory) {
    this.plan = plan;
    this.memory = memory;
    this.offsets = new Float64Array(rows + 1);
    this.kept = elementMemory(new ARRAYS[plan.dtype](0));
    this.#source = source;
  }

  push(value: unknown, sample: object): void {
    const { plan, raw, offsets } = this;
    const row = raw.length;
    if (value === undefined && !plan.optional) throw missing(plan, fieldNames(sample));
    const elements = value === undefined ? NO_ELEMENTS : elementsOf(plan, value, this.#source);
    const count = countOf(plan, elements, this.#source);
    checkCount(plan, count);
    const isRaw = areRawBytes(elements, this.#source);
    if (!isRaw) this.#keep(elements, offsets[row]!, count);
    raw.push(isRaw ? elements : undefined);
    offsets[row + 1] = offsets[row]! + count;
  }

  truncate(rows: number): void {
    if (rows < this.raw.length) this.raw.length = rows;
  }

  abstract finish(): WireColumn;

  #keep(elements: Elements, at: number, count: number): void {
    if (at + count > this.kept.array.length) {
      // Doubled, so that all rows together cost a few times their bytes.
      const larger = elementMemory(new ARRAYS[this.plan.dtype](Math.max(at + count, 2 * this.kept.array.length)));
      copyBytes(larger.bytes, 0, this.kept.bytes);
      this.kept = larger;
    }
    copyElements(this.plan, elements, this.#source, this.kept, at);
  }
}

export class RaggedBuilder extends OpenBuilder {
  finish(): WireColumn {
    const { dtype } = this.plan;
    const offsets = this.offsets.slice(0, this.raw.length + 1);
    const { array, bytes } = elementMemory(newArray(dtype, offsets[this.raw.length]!, this.memory));
    copyRange(bytes, 0, this.kept.bytes, 0, Math.min(bytes.length, this.kept.bytes.length));
    for (let row = 0; row < this.raw.length; row++) {
      const raw = this.raw[row];
      if (raw !== undefined) copyBytes(bytes, offsets[row]! * array.BYTES_PER_ELEMENT, raw);
    }
    return { kind: "ragged", dtype, values: array, offsets };
  }
}

export class PaddedBuilder extends OpenBuilder {
  finish(): WireColumn {
    const { plan, raw, offsets, kept } = this;
    const lengths = new Int32Array(raw.length);
    let longest = 0;
    for (let row = 0; row < raw.length; row++) {
      lengths[row] = (offsets[row + 1]! - offsets[row]!) / plan.unit;
      longest = Math.max(longest, lengths[row]!);
    }
    const data = newArray(plan.dtype, raw.length * longest * plan.unit, this.memory);
    (data as Uint8Array).fill((plan.dtype === "int64" || plan.dtype === "uint64" ? BigInt(plan.pad) : plan.pad) as number);
    const { bytes } = elementMemory(data);
    // The dimensions before the open one are rows of their own, each padded.
    const inner = plan.shape.slice(plan.shape.indexOf(null) + 1).reduce<number>((product, dimension) => product * dimension!, 1);
    const outer = plan.unit / inner;
    const step = inner * data.BYTES_PER_ELEMENT;
    for (let row = 0; row < raw.length; row++) {
      const source = raw[row] ?? kept.bytes;
      const begin = raw[row] === undefined ? offsets[row]! * data.BYTES_PER_ELEMENT : 0;
      const part = lengths[row]! * step;
      for (let i = 0; i < outer; i++)
        copyRange(bytes, (row * outer + i) * longest * step, source, begin + i * part, begin + (i + 1) * part);
    }
    const shape = [raw.length, ...plan.shape.map((dimension) => dimension ?? longest)];
    return { kind: "tensor", dtype: plan.dtype, shape, data, lengths };
  }
}
