import fc from "fast-check";
import { expect, test } from "vitest";
import type { DType, Fields } from "../../src/api.js";
import type { RawSample, RecordFormat } from "../../src/formats/format.js";
import { Assembler } from "../../src/loader/assemble.js";
import { Batch } from "../../src/loader/batch.js";
import { type AnyArray, ARRAYS } from "../../src/loader/elements.js";
import { batchRows } from "../support/raw-record.js";

const DTYPES = Object.keys(ARRAYS) as DType[];

interface Case {
  readonly spec: Fields[string];
  /** A value that fits the field, and the one that comes out. */
  readonly value: fc.Arbitrary<{ readonly given: unknown; readonly expected: unknown }>;
}

/** Elements as the typed array itself, or as its little-endian bytes at a place that need not be aligned. */
function elements(dtype: DType, count: fc.Arbitrary<number>): Case["value"] {
  const bytesOf = ARRAYS[dtype].BYTES_PER_ELEMENT;
  return fc
    .tuple(count, fc.boolean(), fc.integer({ min: 0, max: 3 }), fc.infiniteStream(fc.integer({ min: 0, max: 255 })))
    .map(([length, raw, shift, stream]) => {
      const bytes = new Uint8Array(new SharedArrayBuffer(shift + length * bytesOf)).subarray(shift);
      // 63 = 0x3f: no NaN whatever the float, and no sign.
      for (let i = 0; i < bytes.length; i++) bytes[i] = (stream.next().value as number) & 0x3f;
      const expected = new ARRAYS[dtype](bytes.slice().buffer as ArrayBuffer, 0, length) as AnyArray;
      return { given: raw ? bytes : expected.slice(), expected };
    });
}

const shape = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 });
const fieldCase: fc.Arbitrary<Case> = fc.oneof(
  fc.tuple(fc.constantFrom(...DTYPES), shape).map(([dtype, dimensions]) => ({
    spec: { dtype, shape: dimensions },
    value: elements(dtype, fc.constant(dimensions.reduce((a, b) => a * b, 1))),
  })),
  fc.tuple(fc.constantFrom(...DTYPES), shape, fc.nat(3), fc.boolean()).map(([dtype, dimensions, at, padded]) => {
    const open: (number | null)[] = dimensions.map((dimension, i) => (i === at % dimensions.length ? null : dimension));
    const unit = open.reduce<number>((a, b) => a * (b ?? 1), 1);
    const spec = padded ? { dtype, shape: open, pad: 1 } : { dtype, shape: open };
    return {
      spec,
      value: elements(
        dtype,
        fc.nat(4).map((steps) => steps * unit),
      ),
    };
  }),
  fc.constant({ spec: "bytes" as const, value: fc.uint8Array({ maxLength: 20 }).map((bytes) => ({ given: bytes, expected: bytes })) }),
  fc.constant({
    spec: "utf8" as const,
    value: fc.string({ unit: "grapheme" }).map((text) => ({ given: new TextEncoder().encode(text), expected: text })),
  }),
  fc.constant({
    spec: "json" as const,
    value: fc
      .jsonValue()
      .map((json) => ({ given: new TextEncoder().encode(JSON.stringify(json)), expected: JSON.parse(JSON.stringify(json)) })),
  }),
  fc.constant({
    spec: "int32" as const,
    value: fc.integer().map((number) => ({ given: new TextEncoder().encode(`${number}`), expected: number })),
  }),
  fc.constant({
    spec: "int64" as const,
    value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((number) => ({ given: BigInt64Array.of(number), expected: number })),
  }),
);

const dataset = fc
  .array(fieldCase, { minLength: 1, maxLength: 4 })
  .chain((cases) =>
    fc.tuple(fc.constant(cases), fc.array(fc.tuple(fc.boolean(), ...cases.map(({ value }) => value)), { maxLength: 8 }), fc.boolean()),
  );

test("what goes into columns comes out of samples, less the rows that fail, through a decoder or not, in memory used before", async () => {
  await fc.assert(
    fc.asyncProperty(dataset, async ([cases, drawn, decoded]) => {
      const fields: Fields = Object.fromEntries(cases.map(({ spec }, i) => [`f${i}`, spec]));
      const failing = drawn.map(([fails]) => fails);
      const given: RawSample[] = drawn.map(([, ...values]) => Object.fromEntries(values.map(({ given }, i) => [`f${i}`, given as object])));
      // A record that fails lacks its last field: those before it are in their columns already.
      for (let row = 0; row < given.length; row++) if (failing[row]) delete given[row]![`f${cases.length - 1}`];
      const format = { name: "given", fields: ({ bytes }) => given[bytes[0]!]! } satisfies Pick<RecordFormat, "name" | "fields">;
      const rows = batchRows(drawn.map((_, row) => ({ bytes: Uint8Array.of(row), key: `${row}`, index: row, shardPath: "s" })));
      const decode = { decoder: { output: fields, run: (sample: unknown) => sample }, args: undefined, seed: 0, timeoutMs: 1000 };
      const assembler = new Assembler({
        format,
        fields,
        classes: undefined,
        root: "r",
        onError: "skip",
        decode: decoded ? decode : undefined,
        recycle: true,
      });
      assembler.memory.give(Array.from({ length: 20 }, (_, i) => new Uint8Array(8 << (i % 6)).fill(0xee).buffer));
      const assembled = await assembler.assemble({ rows, padding: 0, epoch: 0 });
      const state = { version: 1, fingerprint: "", order: "", epoch: 0, position: 0 } as const;
      const batch = new Batch(assembled, { epoch: 0, step: 0, fields, state, key: String, recycle: undefined });
      const kept = drawn.filter(([fails]) => !fails);
      const expected = kept.map(([, ...values]) => Object.fromEntries(values.map(({ expected }, i) => [`f${i}`, expected])));
      expect([...batch.samples()]).toEqual(expected);
      expect(assembled.skipped.map(({ index }) => index)).toEqual(failing.flatMap((fails, row) => (fails ? [row] : [])));
    }),
    { numRuns: 300 },
  );
});
