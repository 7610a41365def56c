/** The element types of safetensors, as the `Dtype` of https://github.com/huggingface/safetensors (safetensors/src/tensor.rs) has them. */

import type { TensorDtype } from "../api.js";

export type TensorArray =
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>;

export interface TensorArrayType {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): TensorArray;
  readonly BYTES_PER_ELEMENT: number;
}

export interface ElementType {
  /** Of one element. F4 and F6 pack several into a byte or three. */
  readonly bits: number;
  /** Place in the canonical order of a file's data, which begins with the highest: the widest first, so that all are aligned. */
  readonly rank: number;
  /** The typed array of such values; bytes where JavaScript has none. */
  readonly array: TensorArrayType;
}

/** In ascending rank. */
const ASCENDING: readonly (readonly [name: TensorDtype, bits: number, array: TensorArrayType])[] = [
  ["BOOL", 8, Uint8Array],
  ["F4", 4, Uint8Array],
  ["F6_E2M3", 6, Uint8Array],
  ["F6_E3M2", 6, Uint8Array],
  ["U8", 8, Uint8Array],
  ["I8", 8, Int8Array],
  ["F8_E5M2", 8, Uint8Array],
  ["F8_E4M3", 8, Uint8Array],
  ["F8_E8M0", 8, Uint8Array],
  ["F8_E4M3FNUZ", 8, Uint8Array],
  ["F8_E5M2FNUZ", 8, Uint8Array],
  ["I16", 16, Int16Array],
  ["U16", 16, Uint16Array],
  ["F16", 16, Uint8Array],
  ["BF16", 16, Uint8Array],
  ["I32", 32, Int32Array],
  ["U32", 32, Uint32Array],
  ["F32", 32, Float32Array],
  ["C64", 64, Uint8Array],
  ["F64", 64, Float64Array],
  ["I64", 64, BigInt64Array],
  ["U64", 64, BigUint64Array],
];

export const DTYPES: ReadonlyMap<string, ElementType> = new Map(
  ASCENDING.map(([name, bits, array], rank) => [name, { bits, rank, array }]),
);

/**
 * Bytes of a tensor. Throws RangeError, saying why, where a product passes 64 bits on the way, in the order of the dimensions
 * (so also where a later dimension is 0), or where the bits do not fill whole bytes.
 */
export function tensorBytes({ bits }: ElementType, shape: readonly number[]): number {
  let product = 1n;
  for (const factor of [...shape, bits]) {
    product *= BigInt(factor);
    if (product >= 2n ** 64n) throw new RangeError("its dimensions multiply to more than 64 bits hold");
  }
  if (product % 8n !== 0n) throw new RangeError(`its ${product} bits do not fill whole bytes`);
  return Number(product / 8n);
}
