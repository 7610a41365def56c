/** Numbers of one kind into typed arrays of another: only where nothing is lost, but for the rounding of floats. */
import type { DType, TypedArrays } from "../api.js";

export const ARRAYS: {
  readonly [D in DType]: {
    readonly BYTES_PER_ELEMENT: number;
    new (length: number): TypedArrays[D];
    new (buffer: ArrayBuffer, byteOffset: number, length: number): TypedArrays[D];
  };
} = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
};

export type AnyArray = TypedArrays[DType];

/** Elements, and the same memory as bytes. */
export interface ElementMemory {
  readonly array: AnyArray;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function elementMemory(array: AnyArray): ElementMemory {
  return { array, bytes: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) };
}

/** Smallest and largest value of the integer types that a number can hold. */
const LIMITS: { readonly [D in DType]?: readonly [low: number, high: number] } = {
  uint8: [0, 0xff],
  int8: [-0x80, 0x7f],
  uint16: [0, 0xffff],
  int16: [-0x8000, 0x7fff],
  uint32: [0, 0xffff_ffff],
  int32: [-0x8000_0000, 0x7fff_ffff],
};

/** The value as the dtype holds it, or undefined where it does not fit. A float is rounded to float32; an integer must stay what it is. */
export function fitNumber(value: number | bigint, dtype: DType): number | bigint | undefined {
  if (dtype === "int64" || dtype === "uint64") {
    if (typeof value === "number" && !Number.isSafeInteger(value)) return undefined;
    const big = BigInt(value);
    return (dtype === "int64" ? BigInt.asIntN(64, big) : BigInt.asUintN(64, big)) === big ? big : undefined;
  }
  const number = Number(value);
  const limits = LIMITS[dtype];
  if (limits !== undefined) return Number.isInteger(number) && number >= limits[0] && number <= limits[1] ? number : undefined;
  const held = dtype === "float32" ? Math.fround(number) : number;
  if (typeof value === "bigint") return Number.isFinite(held) && BigInt(held) === value ? held : undefined;
  return Number.isFinite(number) && !Number.isFinite(held) ? undefined : held;
}

/** More digits than these may not be exact in a number. */
const SAFE_DIGITS = 15;

/** The number that bytes of nothing but a few decimal digits stand for, as labels are mostly written; undefined for any others. */
export function parseDigits(bytes: Uint8Array): number | undefined {
  if (bytes.length === 0 || bytes.length > SAFE_DIGITS) return undefined;
  let number = 0;
  for (let i = 0; i < bytes.length; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    number = number * 10 + digit;
  }
  return number;
}

/** The number a text such as `7` or `-0.5` stands for, or undefined. */
export function parseNumber(text: string, dtype: DType): number | bigint | undefined {
  const trimmed = text.trim();
  if (/^[+-]?\d+$/.test(trimmed))
    return fitNumber(BigInt(trimmed.replace(/^\+/, "")), dtype) ?? (isFloat(dtype) ? fitNumber(Number(trimmed), dtype) : undefined);
  if (!isFloat(dtype) || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return undefined;
  return fitNumber(Number(trimmed), dtype);
}

function isFloat(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float64";
}

/**
 * Writes elements into `target` from `at`. Returns the number of the first that does not fit, or -1.
 * Elements of the target's own type are copied at once.
 */
export function writeElements(values: ArrayLike<number | bigint>, dtype: DType, target: AnyArray, at: number): number {
  if (values instanceof ARRAYS[dtype]) {
    (target as Uint8Array).set(values as unknown as Uint8Array, at);
    return -1;
  }
  const integers = !(values instanceof Float32Array || values instanceof Float64Array || Array.isArray(values));
  for (let i = 0; i < values.length; i++) {
    let value = values[i]!;
    // An Int32Array in a float32 field must stay exact, as a bigint does.
    if (integers && dtype === "float32" && typeof value === "number" && Math.abs(value) > 2 ** 24) value = BigInt(value);
    const held = typeof value === "number" || typeof value === "bigint" ? fitNumber(value, dtype) : undefined;
    if (held === undefined) return i;
    (target as { [n: number]: number | bigint })[at + i] = held;
  }
  return -1;
}
