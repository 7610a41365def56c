import { expect, expectTypeOf, test } from "vitest";
import type { BytesColumn, ColumnOf, Decoder, TensorColumn } from "../../../src/api.js";
import { defineDecoder } from "../../../src/loader/define-decoder.js";

test("a decoder knows where it is, what it gives and how", () => {
  const decoder = defineDecoder(import.meta, {
    output: { pixels: { dtype: "float32", shape: [4] }, raw: "bytes" },
    decode: (sample: { image: Uint8Array<ArrayBuffer> }) => ({ pixels: new Float32Array(4), raw: sample.image }),
  });
  expect(decoder).toMatchObject({ url: import.meta.url, output: { pixels: { dtype: "float32", shape: [4] }, raw: "bytes" } });
  expect(decoder.run({ image: new Uint8Array(1) }, {} as never)).toEqual({ pixels: new Float32Array(4), raw: new Uint8Array(1) });
  expectTypeOf<ColumnOf<(typeof decoder)["output"]["pixels"]>>().toEqualTypeOf<TensorColumn<"float32">>();
  expectTypeOf<ColumnOf<(typeof decoder)["output"]["raw"]>>().toEqualTypeOf<BytesColumn>();
  expectTypeOf(decoder).toExtend<Decoder<{ image: Uint8Array<ArrayBuffer> }, { raw: "bytes" }>>();
});

test.each<[string, () => unknown, RegExp]>([
  [
    "no import.meta",
    () => defineDecoder(undefined as never, { output: { a: "int8" }, decode: () => ({ a: 1 }) }),
    /pass import\.meta first/,
  ],
  ["no function", () => defineDecoder(import.meta, { output: { a: "int8" } } as never), /decode: expected a function/],
  ["no output", () => defineDecoder(import.meta, { decode: () => ({}) } as never), /defineDecoder: output: expected an object/],
  [
    "an unknown kind",
    () => defineDecoder(import.meta, { output: { a: "int7" as "int8" }, decode: () => ({ a: 1 }) }),
    /defineDecoder: output\.a: "int7" is no field/,
  ],
])("%s is MILLRACE_CONFIG", (_, define, message) => {
  expect(define).toThrow(expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) }));
});
