import { describe, expect, it } from "vitest";
import { npy } from "../../../src/adapters/decode.js";

const NUMPY_HEADERS = {
  halfFloats:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnPGYyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDgsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAACAADwAwf97AQAAfAB+",
  columnMajor:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnPGk0JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMywgNCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAADAAAAAQAAAAQAAAACAAAABQAAAABAAAADQAAAAUAAAARAAAACQAAABUAAAACAAAADgAAAAYAAAASAAAACgAAABYAAAADAAAADwAAAAcAAAATAAAACwAAABcAAAA=",
  bigEndian:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnPmk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDEsIDEpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAIAAAAAAAAQ==",
  records:
    "k05VTVBZAQB2AHsnZGVzY3InOiBbKCdhJywgJzxpNCcpLCAoJ2InLCAnPGY0JyldLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMSwpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAAAA==",
};
/** Files as NumPy 2.4 wrote them. */
const numpy = (name: keyof typeof NUMPY_HEADERS) => Buffer.from(NUMPY_HEADERS[name], "base64");

function file(descr: string, shape: string, data: Uint8Array, { version = 1, order = "False" } = {}): Buffer {
  const header = Buffer.from(`{'descr': ${descr}, 'fortran_order': ${order}, 'shape': (${shape}), }\n`);
  const length = version === 1 ? [header.length & 255, header.length >> 8] : [header.length & 255, header.length >> 8, 0, 0];
  return Buffer.concat([Buffer.from([0x93, ...Buffer.from("NUMPY"), version, 0, ...length]), header, data]);
}

describe("npy", () => {
  it.each([
    ["|u1", "uint8", Uint8Array.of(1, 255)],
    ["|b1", "uint8", Uint8Array.of(1, 0)],
    ["|i1", "int8", Int8Array.of(-1, 127)],
    ["<u2", "uint16", Uint16Array.of(1, 65_535)],
    ["<i2", "int16", Int16Array.of(-2, 300)],
    ["<u4", "uint32", Uint32Array.of(1, 2 ** 32 - 1)],
    ["<i4", "int32", Int32Array.of(-5, 2 ** 30)],
    ["<u8", "uint64", BigUint64Array.of(1n, 2n ** 64n - 1n)],
    ["<i8", "int64", BigInt64Array.of(-1n, 2n ** 62n)],
    ["<f4", "float32", Float32Array.of(0.5, -3)],
    ["<f8", "float64", Float64Array.of(Math.PI, -1e300)],
  ] as const)("reads %s as %s, in either byte order", (descr, dtype, values) => {
    const bytes = Buffer.from(new Uint8Array(values.buffer));
    expect(npy(file(`'${descr}'`, "2,", bytes))).toEqual({ dtype, shape: [2], data: values });
    const size = values.BYTES_PER_ELEMENT;
    if (size > 1) bytes[size === 2 ? "swap16" : size === 4 ? "swap32" : "swap64"]();
    expect(npy(file(`'>${descr.slice(1)}'`, "2,", bytes))).toEqual({ dtype, shape: [2], data: values });
  });

  it("reads what NumPy writes", () => {
    expect(npy(numpy("halfFloats"))).toEqual({
      dtype: "float32",
      shape: [8],
      data: Float32Array.of(0, -0, 1, -2.5, 65_504, 2 ** -24, Number.POSITIVE_INFINITY, Number.NaN),
    });
    expect(npy(numpy("bigEndian"))).toEqual({ dtype: "int64", shape: [1, 1], data: BigInt64Array.of(2n ** 53n + 1n) });
  });

  it("turns column-major arrays to row-major", () => {
    expect(npy(numpy("columnMajor"))).toEqual({ dtype: "int32", shape: [2, 3, 4], data: Int32Array.from({ length: 24 }, (_, i) => i) });
  });

  it("reads all versions, no dimensions and no elements", () => {
    for (const version of [1, 2, 3]) expect(npy(file("'|u1'", "1, 2", Uint8Array.of(3, 4), { version })).data).toEqual(Uint8Array.of(3, 4));
    expect(npy(file("'|u1'", "", Uint8Array.of(7)))).toEqual({ dtype: "uint8", shape: [], data: Uint8Array.of(7) });
    expect(npy(file("'<f4'", "0, 3", new Uint8Array()))).toEqual({ dtype: "float32", shape: [0, 3], data: new Float32Array() });
    expect(npy(file("'<f4'", "3, 0", new Uint8Array(), { order: "True" })).data).toHaveLength(0);
  });

  it("gives memory of its own, wherever the bytes lie", () => {
    const whole = Buffer.concat([Buffer.alloc(3), file("'<f8'", "1,", new Uint8Array(Float64Array.of(2.5).buffer)), Buffer.alloc(5)]);
    const { data } = npy(whole.subarray(3));
    expect(data).toEqual(Float64Array.of(2.5));
    expect(data.buffer.byteLength).toBe(8);
  });

  it.each([
    ["other bytes", Buffer.from("no array at all")],
    ["nothing", new Uint8Array()],
    ["an unknown version", file("'|u1'", "1,", Uint8Array.of(1), { version: 4 })],
    ["a header cut short", file("'|u1'", "1,", new Uint8Array()).subarray(0, 30)],
    ["elements that are missing", file("'<f4'", "2, 2", new Uint8Array(15))],
    ["a shape beyond all numbers", file("'<f4'", "9007199254740991, 9007199254740991", new Uint8Array(15))],
    ["a dimension beyond all numbers", file("'<f4'", "9007199254740993,", new Uint8Array(15))],
    ["a damaged shape", file("'<f4'", "2,,2", new Uint8Array(16))],
    ["too many dimensions", file("'|u1'", "1, ".repeat(65), Uint8Array.of(1))],
    ["a header longer than any", file("'|u1'", `1,${" ".repeat(10_000)}`, Uint8Array.of(1))],
    ["complex numbers", file("'<c8'", "1,", new Uint8Array(8))],
    ["text", file("'<U2'", "1,", new Uint8Array(8))],
    ["objects", file("'|O'", "1,", new Uint8Array(8))],
    ["an order that is neither", file("'|u1'", "1,", new Uint8Array(1), { order: "Maybe" })],
    ["records", numpy("records")],
  ])("%s: MILLRACE_DECODE", (_, bytes) => {
    expect(() => npy(bytes)).toThrow(expect.objectContaining({ code: "MILLRACE_DECODE" }));
  });
});
