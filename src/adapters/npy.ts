/**
 * Arrays as `numpy.save` writes them. Source: NumPy, "NEP 1 — A Simple File Format for NumPy Arrays" and `numpy.lib.format`:
 * magic, version, length of the header, a Python dict of descr, fortran_order and shape, then the elements.
 */
import type { DType, TypedArrays } from "../api.js";
import { ARRAYS } from "../loader/elements.js";
import { decodeError } from "./decode-error.js";

export type NpyArray = {
  [D in DType]: { readonly dtype: D; readonly shape: readonly number[] /** In row-major (C) order. */; readonly data: TypedArrays[D] };
}[DType];

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
/** `numpy.load` refuses longer headers, too. */
const MAX_HEADER_BYTES = 10_000;
/** NumPy's own limit, since 2.0. */
const MAX_DIMENSIONS = 64;
/** Where NumPy writes half floats there is no such array yet; float32 holds each exactly. */
const DTYPES: Readonly<Record<string, DType | "float16">> = {
  b1: "uint8",
  u1: "uint8",
  i1: "int8",
  u2: "uint16",
  i2: "int16",
  u4: "uint32",
  i4: "int32",
  u8: "uint64",
  i8: "int64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
};

interface Header {
  readonly dtype: DType | "float16";
  readonly bigEndian: boolean;
  readonly columnMajor: boolean;
  readonly shape: readonly number[];
  /** Byte of the first element. */
  readonly begin: number;
}

/**
 * The array in a .npy file of version 1, 2 or 3, in memory of its own; bytes behind it are passed over, as `numpy.load` does.
 * Either byte order; column-major (Fortran) arrays are turned to row-major; booleans become uint8, half floats float32.
 * Throws MILLRACE_DECODE: no .npy file, one cut short, or elements that are no plain numbers (complex, strings, objects, records).
 */
export function npy(bytes: Uint8Array): NpyArray {
  const header = readHeader(bytes);
  const { dtype, shape, begin } = header;
  const size = dtype === "float16" ? 2 : ARRAYS[dtype].BYTES_PER_ELEMENT;
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  const end = begin + count * size;
  if (!(end <= bytes.length))
    throw broken(`it announces ${count} elements of ${size} bytes, and has ${bytes.length - begin} bytes of them`);
  const content = Uint8Array.from(bytes.subarray(begin, end)).buffer;
  if (header.bigEndian) swap(Buffer.from(content), size);
  const stored = dtype === "float16" ? halves(new Uint16Array(content)) : new ARRAYS[dtype](content, 0, count);
  const data = header.columnMajor ? rowMajor(stored, shape) : stored;
  return { dtype: dtype === "float16" ? "float32" : dtype, shape, data } as NpyArray;
}

function readHeader(bytes: Uint8Array): Header {
  if (!MAGIC.every((byte, i) => bytes[i] === byte) || bytes.length < 12) throw broken("it does not begin like one");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6]!;
  if (version < 1 || version > 3) throw broken(`version ${version} of the format is not known, only 1 to 3 are`);
  const textBegin = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const begin = textBegin + length;
  if (length > MAX_HEADER_BYTES) throw broken(`its header of ${length} bytes is longer than ${MAX_HEADER_BYTES}`);
  if (begin > bytes.length) throw broken("its header is cut short");
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + textBegin, length).toString("latin1");
  const descr = /'descr' *: *'([<>=|])([a-z][0-9]+)'/.exec(text);
  const dtype = DTYPES[descr?.[2] ?? ""];
  if (descr === null || dtype === undefined) throw broken(`its elements are no plain numbers: ${text.trim()}`);
  const order = /'fortran_order' *: *(True|False)/.exec(text)?.[1];
  const dimensions = /'shape' *: *\(([0-9, ]*)\)/.exec(text)?.[1];
  if (order === undefined || dimensions === undefined) throw broken(`its header is damaged: ${text.trim()}`);
  return { dtype, bigEndian: descr[1] === ">", columnMajor: order === "True", shape: shapeOf(dimensions), begin };
}

/** `"3, 4"`, `"3,"` or `""` as Python writes tuples. */
function shapeOf(dimensions: string): number[] {
  const parts = dimensions.split(",").map((part) => part.trim());
  if (parts.at(-1) === "") parts.pop();
  const shape = parts.map((part) => (part === "" ? Number.NaN : Number(part)));
  if (shape.length > MAX_DIMENSIONS || !shape.every(Number.isSafeInteger)) throw broken(`its shape is damaged: (${dimensions})`);
  return shape;
}

function swap(content: Buffer, size: number): void {
  if (size === 2) content.swap16();
  else if (size === 4) content.swap32();
  else if (size === 8) content.swap64();
}

/** IEEE 754 half precision to single. */
function halves(stored: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(stored.length);
  for (let i = 0; i < stored.length; i++) {
    const bits = stored[i]!;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 0x1f
          ? fraction === 0
            ? Number.POSITIVE_INFINITY
            : Number.NaN
          : (fraction + 0x400) * 2 ** (exponent - 25);
    out[i] = bits & 0x8000 ? -size : size;
  }
  return out;
}

/** The same array with its last dimension's elements side by side, instead of its first's. */
function rowMajor<T extends TypedArrays[DType]>(stored: T, shape: readonly number[]): T {
  const out = stored.slice() as T;
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, dimension) => product * dimension, 1));
  const place = new Array<number>(shape.length).fill(0);
  for (let to = 0, from = 0; to < out.length; to++) {
    out[to] = stored[from]!;
    // The next place in row-major order: count up the last axis, carrying into those before it.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place[axis]! += 1;
      from += strides[axis]!;
      if (place[axis]! < shape[axis]!) break;
      from -= place[axis]! * strides[axis]!;
      place[axis] = 0;
    }
  }
  return out;
}

function broken(why: string): Error {
  return decodeError(`The .npy array cannot be decoded: ${why}`);
}
