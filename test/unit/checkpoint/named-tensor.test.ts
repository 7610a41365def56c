import { describe, expect, test } from "vitest";
import { bytesOf } from "../../../src/checkpoint/named-tensor.js";

const refused = (message: string) => expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining(message) });
const w = (dtype: string, data: unknown) => ({ name: "w", dtype, shape: [4], data });

describe("the array of a tensor", () => {
  test.each([
    ["F32", new Float32Array(4)],
    ["F64", new Float64Array(4)],
    ["I64", new BigInt64Array(4)],
    ["I8", new Int8Array(4)],
    ["U8", new Uint8Array(4)],
    ["F16", new Uint16Array(4)],
    ["BF16", new Uint16Array(4)],
    ["C64", new Float32Array(8)],
    ["F32", new Uint8Array(16)],
    ["BF16", Buffer.alloc(8)],
    ["I32", new DataView(new ArrayBuffer(16))],
    ["BOOL", new Uint8ClampedArray(4)],
  ])("%s takes %o, where it is", (dtype, data) => {
    const bytes = bytesOf(w(dtype, data), 0);
    expect([bytes.buffer, bytes.byteOffset, bytes.length]).toEqual([data.buffer, data.byteOffset, data.byteLength]);
  });

  test.each([
    ["F32", new Int32Array(4), 'tensor "w": dtype F32 takes a Float32Array (or its bytes as Uint8Array), got Int32Array'],
    ["F32", new Float64Array(2), "got Float64Array"],
    ["BF16", new Float32Array(2), "dtype BF16 takes a Uint16Array (or its bytes as Uint8Array), got Float32Array"],
    ["I32", new Uint32Array(4), "dtype I32 takes an Int32Array"],
    ["U8", new Int8Array(4), "dtype U8 takes a Uint8Array"],
    ["BOOL", new Int8Array(4), "dtype BOOL takes its bytes as Uint8Array, got Int8Array"],
    ["F32", [1, 2, 3, 4], 'tensor "w": data: expected a typed array, got an Array; pass a typed array of its values'],
    ["F32", new ArrayBuffer(16), "got an ArrayBuffer; pass a view of it, such as new Uint8Array(data)"],
    ["F32", undefined, "expected a typed array, got undefined"],
  ])("%s refuses %o", (dtype, data, message) => {
    expect(() => bytesOf(w(dtype, data), 0)).toThrow(refused(message));
  });
});

test.each([
  [null, "tensors[3]: expected { name, dtype, shape, data }, got null"],
  ["w", 'tensors[3]: expected { name, dtype, shape, data }, got "w"'],
  [["w", {}], "tensors[3]: a tensor is { name, dtype, shape, data }; it has no"],
  [{ dtype: "F32", shape: [1], data: new Float32Array(1) }, "tensors[3]: name: expected a string, got undefined"],
  [{ name: 3, dtype: "F32", shape: [1], data: new Float32Array(1) }, "tensors[3]: name: expected a string, got number 3"],
  [{ name: "w", shape: [1], data: new Float32Array(1) }, 'tensor "w": dtype: expected a string, got undefined'],
  [{ name: "w", dtpye: "F32", shape: [1], data: new Float32Array(1) }, 'it has no "dtpye"'],
  [{ name: "w", dtype: "F32", data: new Float32Array(1) }, 'tensor "w": shape: expected an array of numbers, got undefined'],
  [{ name: "w", dtype: "F32", shape: 4, data: new Float32Array(1) }, 'tensor "w": shape: expected an array of numbers, got number 4'],
])("%o is no tensor", (tensor, message) => {
  expect(() => bytesOf(tensor, 3)).toThrow(refused(message));
});
