import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DTYPES } from "../../../src/checkpoint/dtypes.js";
import { formatHeader, parseHeader } from "../../../src/checkpoint/safetensors.js";
import { OddNumber, parseStrictJson, type StrictJson, StrictJsonError } from "../../../src/checkpoint/strict-json.js";
import { MillraceError } from "../../../src/errors.js";

/** Whole Unicode, often such as has a meaning in JSON or JavaScript. */
const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "0", "toString", '"', "\\", "\u2028"));
const tensors = fc.uniqueArray(
  fc.record({
    name: text.filter((name) => name !== "__metadata__"),
    dtype: fc.constantFrom(...DTYPES.keys()),
    // Multiples of 4 elements fill whole bytes whatever the bits.
    shape: fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 3 }).map((dimensions) => [...dimensions, 4]),
  }),
  { selector: ({ name }) => name, maxLength: 12 },
);
const metadata = fc.dictionary(text, text, { maxKeys: 4, noNullPrototype: true });

function fileOf({ bytes, dataBytes }: { bytes: Uint8Array; dataBytes: number }): Uint8Array {
  return Uint8Array.from(Buffer.concat([bytes, Buffer.alloc(dataBytes)]));
}

describe("safetensors headers", () => {
  test("what is written is read back, aligned and in the order that was told", () => {
    fc.assert(
      fc.property(tensors, metadata, (written, about) => {
        const formatted = formatHeader(written, about);
        const file = fileOf(formatted);
        const header = parseHeader(file, file.length, "f");
        expect(header.metadata).toEqual(about);
        expect(header.dataBegin % 8).toBe(0);
        // Empty tensors share their place with the one after them: their order says nothing.
        const full = (shape: readonly number[]) => !shape.includes(0);
        const expected = formatted.order.map((i) => written[i]!).filter(({ shape }) => full(shape));
        expect(header.tensors.filter(({ shape }) => full(shape)).map(({ name }) => name)).toEqual(expected.map(({ name }) => name));
        expect(new Set(header.tensors.map(({ name }) => name))).toEqual(new Set(written.map(({ name }) => name)));
        for (const { dtype, begin } of header.tensors) {
          const aligned = DTYPES.get(dtype)!.bits / 8;
          if (aligned >= 1) expect(begin % aligned).toBe(0);
        }
      }),
    );
  });

  test("changed anywhere, a file is read as a whole or refused with a code, never anything else", () => {
    const change = fc.record({ at: fc.nat(), bytes: fc.uint8Array({ maxLength: 6 }), drop: fc.integer({ min: 0, max: 6 }) });
    fc.assert(
      fc.property(tensors, metadata, fc.array(change, { minLength: 1, maxLength: 3 }), (written, about, changes) => {
        let file = fileOf(formatHeader(written, about));
        for (const { at, bytes, drop } of changes) {
          const from = at % (file.length + 1);
          file = Uint8Array.from(Buffer.concat([file.subarray(0, from), bytes, file.subarray(from + drop)]));
        }
        let header: ReturnType<typeof parseHeader>;
        try {
          header = parseHeader(file, file.length, "f");
        } catch (error) {
          expect(error).toBeInstanceOf(MillraceError);
          expect((error as MillraceError).code).toBe("MILLRACE_FORMAT");
          return;
        }
        let end = header.dataBegin;
        for (const tensor of header.tensors) {
          expect(tensor.begin).toBe(end);
          end = tensor.end;
        }
        expect(end).toBe(file.length);
      }),
      { numRuns: 500 },
    );
  });
});

describe("strict JSON", () => {
  test("reads what JSON.parse reads, to the same values", () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: "binary" }), (json) => {
        expect(plain(parseStrictJson(json))).toEqual(JSON.parse(json));
      }),
    );
  });

  test("refuses what JSON.parse refuses", () => {
    const cut = fc.tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2 }));
    fc.assert(
      fc.property(cut, ([json, at, other]) => {
        const from = at % (json.length + 1);
        const changed = json.slice(0, from) + other + json.slice(from + 1);
        let reference: unknown;
        try {
          reference = JSON.parse(changed);
        } catch {
          expect(() => parseStrictJson(changed)).toThrow(StrictJsonError);
          return;
        }
        try {
          expect(plain(parseStrictJson(changed))).toEqual(reference);
        } catch (error) {
          if (!(error instanceof StrictJsonError)) throw error;
          expect(error.message).toMatch(/comes twice|surrogate/);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function plain(value: StrictJson): unknown {
  if (value instanceof OddNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  return value instanceof Map ? Object.fromEntries(Array.from(value, ([key, item]) => [key, plain(item)])) : value;
}
