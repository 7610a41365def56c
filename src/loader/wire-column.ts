/** Columns on their way from where they are built to the caller. */
import type { DType } from "../api.js";
import type { AnyArray } from "./elements.js";

/** A column as it crosses threads: no methods, memory that can be transferred. */
export type WireColumn =
  | {
      readonly kind: "tensor";
      readonly dtype: DType;
      readonly shape: readonly number[];
      readonly data: AnyArray;
      readonly lengths?: Int32Array | undefined;
    }
  | { readonly kind: "ragged"; readonly dtype: DType; readonly values: AnyArray; readonly offsets: Float64Array }
  | { readonly kind: "bytes"; readonly values: Uint8Array<ArrayBuffer>; readonly offsets: Float64Array }
  | { readonly kind: "values"; readonly values: readonly unknown[] };

export interface ColumnBuilder {
  /** Adds a row; `undefined`: the sample lacks the field. Throws MILLRACE_FORMAT and has then added nothing. */
  push(value: unknown, sample: object): void;
  /** Forgets the rows from `rows` on. */
  truncate(rows: number): void;
  /** The column of the rows pushed. The builder is of no use after it. */
  finish(): WireColumn;
}

/** The memory of a column, to be transferred: never copied. */
export function columnBuffers(column: WireColumn): ArrayBuffer[] {
  switch (column.kind) {
    case "tensor":
      return column.lengths === undefined ? [column.data.buffer] : [column.data.buffer, column.lengths.buffer as ArrayBuffer];
    case "values":
      return [];
    default:
      return [column.values.buffer, column.offsets.buffer as ArrayBuffer];
  }
}
