import { describe, expect, test } from "vitest";
import type { TensorDtype } from "../../../src/api.js";
import { DTYPES } from "../../../src/checkpoint/dtypes.js";
import { alignmentOf, TensorView } from "../../../src/checkpoint/loaded-tensor.js";

/** A tensor of all codes of a format, in ascending order. */
function allCodes(dtype: string, bytes: 1 | 2): TensorView {
  const codes = bytes === 1 ? Uint8Array.from({ length: 256 }, (_, i) => i) : Uint16Array.from({ length: 65_536 }, (_, i) => i);
  return new TensorView({ name: "t", dtype, shape: [codes.length] }, codes.buffer, 0, codes.byteLength);
}

/** The value of a code by its format's definition, digit by digit; NaN and infinities are told by the caller. */
function valueByDigits(code: number, exponentBits: number, mantissaBits: number, bias: number): number {
  const digits = code.toString(2).padStart(1 + exponentBits + mantissaBits, "0");
  const exponent = Number.parseInt(digits.slice(1, 1 + exponentBits), 2);
  let fraction = exponent === 0 ? 0 : 1;
  for (let i = 0; i < mantissaBits; i++) fraction += Number(digits[1 + exponentBits + i]) / 2 ** (i + 1);
  return (digits[0] === "1" ? -1 : 1) * fraction * 2 ** (Math.max(exponent, 1) - bias);
}

describe("toFloat32, of every code there is", () => {
  test.each<
    [dtype: string, bytes: 1 | 2, exponentBits: number, mantissaBits: number, bias: number, special: (code: number) => number | undefined]
  >([
    ["F16", 2, 5, 10, 15, (code) => ieee(code, 0x7c00, 0x8000)],
    ["BF16", 2, 8, 7, 127, (code) => ieee(code, 0x7f80, 0x8000)],
    ["F8_E5M2", 1, 5, 2, 15, (code) => ieee(code, 0x7c, 0x80)],
    ["F8_E4M3", 1, 4, 3, 7, (code) => ((code & 0x7f) === 0x7f ? Number.NaN : undefined)],
    ["F8_E5M2FNUZ", 1, 5, 2, 16, (code) => (code === 0x80 ? Number.NaN : undefined)],
    ["F8_E4M3FNUZ", 1, 4, 3, 8, (code) => (code === 0x80 ? Number.NaN : undefined)],
  ])("%s", (dtype, bytes, exponentBits, mantissaBits, bias, special) => {
    const floats = allCodes(dtype, bytes).toFloat32();
    expect(floats.length).toBe(2 ** (8 * bytes));
    const wrong = [...floats.keys()].filter(
      (code) => !Object.is(floats[code], special(code) ?? valueByDigits(code, exponentBits, mantissaBits, bias)),
    );
    expect(wrong).toEqual([]);
  });

  test("F8_E8M0", () => {
    const floats = allCodes("F8_E8M0", 1).toFloat32();
    expect([...floats]).toEqual(Array.from({ length: 256 }, (_, code) => (code === 255 ? Number.NaN : 2 ** (code - 127))));
  });

  /** The greatest values, as the papers print them. */
  test.each([
    ["F16", 2, 0x7bff, 65_504],
    ["F8_E5M2", 1, 0x7b, 57_344],
    ["F8_E4M3", 1, 0x7e, 448],
    ["F8_E5M2FNUZ", 1, 0x7f, 57_344],
    ["F8_E4M3FNUZ", 1, 0x7f, 240],
  ] as const)("%s has its greatest value where it should", (dtype, bytes, code, value) => {
    expect(allCodes(dtype, bytes).toFloat32()[code]).toBe(value);
  });

  test("a NaN of BF16 keeps its sign and payload", () => {
    const { buffer } = Uint16Array.of(0xffc1, 0x7f81);
    const floats = new TensorView({ name: "t", dtype: "BF16", shape: [2] }, buffer, 0, 4).toFloat32();
    expect([...new Uint32Array(floats.buffer)]).toEqual([0xffc10000, 0x7f810000]);
  });

  function ieee(code: number, infinity: number, sign: number): number | undefined {
    const magnitude = code & ~sign;
    if (magnitude < infinity) return undefined;
    return magnitude > infinity ? Number.NaN : code & sign ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
});

describe("TensorView", () => {
  test.each([
    ["I8", Int8Array],
    ["U8", Uint8Array],
    ["I16", Int16Array],
    ["U16", Uint16Array],
    ["I32", Int32Array],
    ["U32", Uint32Array],
    ["F32", Float32Array],
    ["F64", Float64Array],
    ["I64", BigInt64Array],
    ["U64", BigUint64Array],
  ])("%s is a %o on the same memory", (dtype, array) => {
    const buffer = new ArrayBuffer(64);
    const { data, bytes } = new TensorView({ name: "t", dtype, shape: [] }, buffer, 32, 16);
    expect(data).toBeInstanceOf(array);
    expect([data.buffer, data.byteOffset, data.byteLength]).toEqual([buffer, 32, 16]);
    expect([bytes.buffer, bytes.byteOffset, bytes.byteLength]).toEqual([buffer, 32, 16]);
  });

  test.each(["BOOL", "F4", "F6_E2M3", "F6_E3M2", "F16", "BF16", "F8_E4M3", "F8_E8M0", "C64"])("%s is its bytes", (dtype) => {
    const tensor = new TensorView({ name: "t", dtype, shape: [8] }, new ArrayBuffer(8), 0, 8);
    expect(tensor.data).toBe(tensor.bytes);
  });

  test("F32 as floats is itself", () => {
    const tensor = new TensorView({ name: "t", dtype: "F32", shape: [2] }, new ArrayBuffer(8), 0, 8);
    expect(tensor.toFloat32()).toBe(tensor.data);
  });

  test.each([...DTYPES.keys()].filter((dtype) => !/^(F32|F16|BF16|F8_.*)$/.test(dtype)))("%s is not read as floats", (dtype) => {
    const tensor = new TensorView({ name: "t", dtype, shape: [8] }, new ArrayBuffer(64), 0, 64);
    expect(() => tensor.toFloat32()).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(/"t".*: take `/) }),
    );
  });

  test("every typed array finds its alignment", () => {
    for (const [dtype, { array }] of DTYPES) expect(alignmentOf(dtype) % array.BYTES_PER_ELEMENT).toBe(0);
  });
});

test("a tensor's dtype is one of safetensors' in the types too, and its shape the caller's own", () => {
  const known: readonly TensorDtype[] = [...DTYPES.keys()] as TensorDtype[];
  // @ts-expect-error no such dtype
  const wrong: TensorDtype = "float32";
  expect(known).not.toContain(wrong);
  const shape = [2];
  const tensor = new TensorView({ name: "t", dtype: "U8", shape }, new ArrayBuffer(2), 0, 2);
  tensor.shape.push(1);
  expect(shape).toEqual([2]);
});
