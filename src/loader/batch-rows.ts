/** The rows of one batch: which sample each is and where its record lies, by column, so that nothing is made for a row. */
import type { RawRecord } from "../formats/format.js";
import type { Manifest } from "../formats/manifest.js";

/** What tells a sample's names from its number. */
export type RowNames = Pick<Manifest, "key" | "path" | "shardOf">;

export class BatchRows {
  readonly names: RowNames;
  /** By row, the sample's number in the dataset that made the loader. */
  readonly indices: Float64Array;
  /** By row, the sample's number in the manifest. */
  readonly samples: Float64Array;
  /** By row, the memory that its record is in, unchanged until the batch is assembled. */
  readonly bytes: Uint8Array[] = [];
  /** By row, where in that memory its record begins and ends. */
  readonly begins: Float64Array;
  readonly ends: Float64Array;
  #count = 0;

  constructor(names: RowNames, capacity: number) {
    this.names = names;
    this.indices = new Float64Array(capacity);
    this.samples = new Float64Array(capacity);
    this.begins = new Float64Array(capacity);
    this.ends = new Float64Array(capacity);
  }

  get count(): number {
    return this.#count;
  }

  /** Of all records. */
  get byteLength(): number {
    let byteLength = 0;
    for (let row = 0; row < this.#count; row++) byteLength += this.ends[row]! - this.begins[row]!;
    return byteLength;
  }

  /** Adds a row, whose record is not placed yet. */
  add(index: number): void {
    this.indices[this.#count++] = index;
  }

  place(row: number, sample: number, bytes: Uint8Array, begin: number, end: number): void {
    this.samples[row] = sample;
    this.bytes[row] = bytes;
    this.begins[row] = begin;
    this.ends[row] = end;
  }

  /** Ready for another batch; keeps no record's memory alive. */
  clear(): void {
    this.bytes.length = 0;
    this.#count = 0;
  }
}

/** One row of a batch as a format and a message see it: moved from row to row, not made anew. Its names are made when they are asked for. */
export class RowCursor implements RawRecord {
  readonly classes: readonly string[] | undefined;
  readonly #rows: BatchRows;
  row: number;

  constructor(rows: BatchRows, classes?: readonly string[], row = 0) {
    this.#rows = rows;
    this.classes = classes;
    this.row = row;
  }

  get bytes(): Uint8Array {
    return this.#rows.bytes[this.row]!;
  }

  get begin(): number {
    return this.#rows.begins[this.row]!;
  }

  get end(): number {
    return this.#rows.ends[this.row]!;
  }

  get index(): number {
    return this.#rows.indices[this.row]!;
  }

  get key(): string {
    return this.#rows.names.key(this.#rows.samples[this.row]!);
  }

  get shardPath(): string {
    const { names, samples } = this.#rows;
    return names.path(names.shardOf(samples[this.row]!));
  }
}
