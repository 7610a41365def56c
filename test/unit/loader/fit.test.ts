import { describe, expect, test } from "vitest";
import type { DType, Fields } from "../../../src/api.js";
import { fitNumber, parseNumber } from "../../../src/loader/elements.js";
import { sampleValue } from "../../../src/loader/field-value.js";
import { checkFields, fieldPlans } from "../../../src/loader/fit.js";

const plan = (spec: Fields[string]) => fieldPlans({ f: spec })[0]!;
const value = (spec: Fields[string], raw: unknown) => sampleValue(plan(spec), raw);
const text = (chars: string) => new TextEncoder().encode(chars);

describe("checkFields", () => {
  test("takes every kind of field", () => {
    expect(() =>
      checkFields({
        a: "bytes",
        b: "utf8",
        c: "json",
        d: "int64",
        e: { dtype: "float32" },
        f: { dtype: "uint8", shape: [2, 3] },
        g: { dtype: "int32", shape: [null] },
        h: { dtype: "int32", shape: [null], pad: -1 },
        i: { dtype: "int8", optional: true },
      }),
    ).not.toThrow();
  });

  test.each<[string, unknown, RegExp]>([
    ["no fields", {}, /^fields: declare at least one field/],
    ["a list", ["a"], /^fields: expected an object/],
    ["null", null, /^fields: expected an object/],
    ["an unknown dtype", { a: "float16" }, /^fields\.a: "float16" is no field; expected one of uint8,/],
    ["a dtype of the prototype", { a: { dtype: "toString" } }, /^fields\.a\.dtype: "toString" is no field/],
    ["a number", { a: 3 }, /^fields\.a: 3 is no field/],
    ["null as a field", { a: null }, /^fields\.a: null is no field/],
    ["an unknown option", { a: { dtype: "int8", shapes: [] } }, /^fields\.a\.shapes: no such option/],
    ["a negative dimension", { a: { dtype: "int8", shape: [-1] } }, /^fields\.a\.shape: expected dimensions/],
    ["a shape that is no list", { a: { dtype: "int8", shape: 3 } }, /^fields\.a\.shape: expected dimensions/],
    [
      "a pad without an open dimension",
      { a: { dtype: "int8", shape: [3], pad: 0 } },
      /^fields\.a\.pad: padding needs exactly one null dimension in shape, which has 0/,
    ],
    ["a pad of two open dimensions", { a: { dtype: "int8", shape: [null, null], pad: 0 } }, /which has 2/],
    ["a pad that does not fit", { a: { dtype: "uint8", shape: [null], pad: -1 } }, /^fields\.a\.pad: -1 does not fit uint8/],
    ["a pad that is text", { a: { dtype: "uint8", shape: [null], pad: "0" } }, /^fields\.a\.pad: expected a number/],
    ["optional: false", { a: { dtype: "uint8", optional: false } }, /^fields\.a\.optional: expected true/],
  ])("refuses %s", (_, fields, message) => {
    expect(() => checkFields(fields as Fields)).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) }),
    );
  });
});

describe("fitNumber keeps the value or refuses it", () => {
  test.each<[number | bigint, DType, number | bigint | undefined]>([
    [255, "uint8", 255],
    [256, "uint8", undefined],
    [-1, "uint16", undefined],
    [-128, "int8", -128],
    [2 ** 31, "int32", undefined],
    [2 ** 31, "uint32", 2 ** 31],
    [1.5, "int32", undefined],
    [Number.NaN, "int32", undefined],
    [7n, "int32", 7],
    [2n ** 40n, "int32", undefined],
    [2n ** 53n, "float64", 2 ** 53],
    [2n ** 53n + 1n, "float64", undefined],
    [2n ** 24n + 1n, "float32", undefined],
    [0.1, "float32", Math.fround(0.1)],
    [1e300, "float32", undefined],
    [Number.POSITIVE_INFINITY, "float32", Number.POSITIVE_INFINITY],
    [5, "int64", 5n],
    [2 ** 60, "int64", undefined],
    [2n ** 63n, "int64", undefined],
    [2n ** 63n, "uint64", 2n ** 63n],
    [-1n, "uint64", undefined],
  ])("%s as %s is %s", (given, dtype, expected) => {
    expect(fitNumber(given, dtype)).toBe(expected);
  });
});

test.each<[string, DType, number | bigint | undefined]>([
  ["7", "int32", 7],
  [" 12\n", "uint8", 12],
  ["+3", "int8", 3],
  ["-4", "uint8", undefined],
  ["9223372036854775807", "int64", 2n ** 63n - 1n],
  ["0.25", "float32", 0.25],
  ["-1e3", "float64", -1000],
  [".5", "float64", 0.5],
  ["123456789012345678901", "float64", 123456789012345680000],
  ["1.5", "int32", undefined],
  ["", "int32", undefined],
  ["", "float64", undefined],
  ["seven", "float32", undefined],
  ["Infinity", "float32", undefined],
])("the text %j as %s is %s", (given, dtype, expected) => {
  expect(parseNumber(given, dtype)).toBe(expected);
});

describe("a record's value is made to fit its field", () => {
  test.each<[string, Fields[string], unknown, unknown]>([
    ["a list of one int64 as a scalar", "int32", BigInt64Array.of(9n), 9],
    ["a list of one float as a scalar", "float32", Float32Array.of(0.5), 0.5],
    ["digits as a scalar", "int32", text("7"), 7],
    ["digits in a string as int64", "int64", "12", 12n],
    ["a number", "uint8", 200, 200],
    ["digits for a scalar with options", { dtype: "int32", optional: true }, text("7"), Int32Array.of(7)],
    ["little-endian bytes for a shape", { dtype: "uint16", shape: [2] }, Uint8Array.of(1, 0, 0, 1), Uint16Array.of(1, 256)],
    ["an image's planes", { dtype: "uint8", shape: [2, 2] }, Uint8Array.of(1, 2, 3, 4), Uint8Array.of(1, 2, 3, 4)],
    ["bytes as int8", { dtype: "int8", shape: [2] }, Uint8Array.of(255, 1), Int8Array.of(-1, 1)],
    ["an int64 list as ragged int32", { dtype: "int32", shape: [null] }, BigInt64Array.of(1n, 2n, 3n), Int32Array.of(1, 2, 3)],
    ["an empty list as ragged", { dtype: "int32", shape: [null] }, new BigInt64Array(0), new Int32Array(0)],
    ["rows of two", { dtype: "float32", shape: [null, 2] }, Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 2, 3, 4)],
    ["a list of JSON", { dtype: "float64", shape: [3] }, [1, 2.5, 3], Float64Array.of(1, 2.5, 3)],
    ["bytes as text", "utf8", text("grüß"), "grüß"],
    ["bytes as json", "json", text('{"a":[1]}'), { a: [1] }],
    ["text as json", "json", "[1]", [1]],
    ["an object as json", "json", { a: 1 }, { a: 1 }],
    ["text as bytes", "bytes", "ab", text("ab")],
    ["a missing optional tensor", { dtype: "int64", shape: [2], optional: true }, undefined, new BigInt64Array(2)],
    ["a missing optional row", { dtype: "int64", shape: [null], optional: true }, undefined, new BigInt64Array(0)],
  ])("%s", (_, spec, raw, expected) => {
    expect(value(spec, raw)).toEqual(expected);
  });

  test.each<[string, Fields[string], unknown, RegExp]>([
    [
      "a list of three for a scalar",
      "int32",
      BigInt64Array.of(1n, 2n, 3n),
      /^field "f", declared as "int32": found 3 elements where the shape needs 1/,
    ],
    ["a value out of range", "int32", BigInt64Array.of(2n ** 40n), /element 0 is 1099511627776, which does not fit int32/],
    [
      "an int32 that float32 cannot hold",
      { dtype: "float32", shape: [1] },
      Int32Array.of(2 ** 24 + 1),
      /16777217, which does not fit float32/,
    ],
    ["text that is no number", "int32", text("cat"), /the text "cat" is no int32; for raw little-endian bytes declare a shape/],
    ["long bytes that begin with digits", "float64", text("1".repeat(100)), /is no float64/],
    [
      "bytes of a wrong size",
      { dtype: "uint16", shape: [2] },
      Uint8Array.of(1, 2, 3),
      /3 bytes are no whole number of uint16 elements of 2 bytes/,
    ],
    ["too few elements", { dtype: "uint8", shape: [2, 2] }, Uint8Array.of(1), /found 1 elements where the shape needs 4/],
    [
      "elements that make no whole rows",
      { dtype: "int32", shape: [null, 2] },
      Int32Array.of(1, 2, 3),
      /found 3 elements where the shape needs a multiple of 2/,
    ],
    ["several byte strings", "bytes", [text("a"), text("b")], /found a list of 2 byte strings where bytes are declared/],
    ["several byte strings as numbers", { dtype: "uint8", shape: [2] }, [text("a"), text("b")], /holds no numbers/],
    ["a list with text in it", { dtype: "uint8", shape: [2] }, [1, "2"], /element 1 is 2, which does not fit uint8/],
    ["an object as a tensor", { dtype: "uint8", shape: [2] }, { a: 1 }, /found a Object, which holds no numbers/],
    ["null", "int32", null, /found null/],
    ["a number as text", "utf8", 4, /found a number where text is declared/],
    ["bytes that are no UTF-8", "utf8", Uint8Array.of(0xff), /the bytes are no UTF-8 text/],
    ["bytes that are no JSON", "json", text("{"), /the text is no JSON/],
  ])("refuses %s", (_, spec, raw, message) => {
    expect(() => value(spec, raw)).toThrow(expect.objectContaining({ code: "MILLRACE_FORMAT", message: expect.stringMatching(message) }));
  });

  test("from shared memory too, and into memory of its own", () => {
    const shared = new Uint8Array(new SharedArrayBuffer(4));
    shared.set(text("true"));
    expect(value("json", shared)).toBe(true);
    expect(value("utf8", shared)).toBe("true");
    const bytes = value("bytes", shared) as Uint8Array;
    shared.fill(0);
    expect(bytes).toEqual(text("true"));
    expect(bytes.buffer).toBeInstanceOf(ArrayBuffer);
  });
});
