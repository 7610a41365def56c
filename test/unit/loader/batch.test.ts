import { describe, expect, test } from "vitest";
import type { Fields } from "../../../src/api.js";
import type { AssembledBatch } from "../../../src/loader/assemble.js";
import { Batch, type BatchFacts } from "../../../src/loader/batch.js";
import { BatchMemory } from "../../../src/loader/batch-memory.js";
import { columnBuilder } from "../../../src/loader/columns.js";
import { fieldPlans } from "../../../src/loader/fit.js";

const FIELDS = {
  image: { dtype: "uint8", shape: [2] },
  label: "int64",
  tokens: { dtype: "int32", shape: [null] },
  padded: { dtype: "float32", shape: [null, 2], pad: -1 },
  inner: { dtype: "int8", shape: [2, null], pad: 0 },
  bytes: "bytes",
  text: "utf8",
} as const satisfies Fields;

const ROWS = [
  { image: [1, 2], label: 7n, tokens: [1, 2, 3], padded: [1, 2], inner: [1, 2], bytes: Uint8Array.of(1), text: "a" },
  { image: [3, 4], label: 8n, tokens: [], padded: [3, 4, 5, 6], inner: [1, 2, 3, 4], bytes: Uint8Array.of(2, 3), text: "b" },
  { image: [5, 6], label: 9n, tokens: [4], padded: [], inner: [], bytes: new Uint8Array(0), text: "c" },
];

function make(facts: Partial<BatchFacts> = {}): { batch: Batch<typeof FIELDS>; asked: number[] } {
  const columns = fieldPlans(FIELDS).map((plan) => {
    const builder = columnBuilder(plan, ROWS.length, "record", new BatchMemory(false), 0);
    for (const row of ROWS) builder.push(row[plan.name as keyof typeof row], row);
    return [plan.name, builder.finish()];
  });
  const assembled: AssembledBatch = {
    size: 2,
    padding: 1,
    indices: Float64Array.of(5, 3, 4),
    columns: Object.fromEntries(columns),
    byteLength: 0,
    skipped: [],
  };
  const asked: number[] = [];
  const key = (index: number): string => {
    asked.push(index);
    return `key ${index}`;
  };
  const state = { version: 1, fingerprint: "f", order: "o", epoch: 4, position: 9 } as const;
  return {
    batch: new Batch(structuredClone(assembled), { epoch: 4, step: 6, fields: FIELDS, state, key, recycle: undefined, ...facts }),
    asked,
  };
}

describe("a batch", () => {
  test("has columns by kind, with rows at hand", () => {
    const { columns } = make().batch;
    expect(columns.image).toMatchObject({ kind: "tensor", dtype: "uint8", shape: [3, 2], data: Uint8Array.of(1, 2, 3, 4, 5, 6) });
    expect(columns.tokens).toMatchObject({ kind: "ragged", offsets: Float64Array.of(0, 3, 3, 4) });
    expect([0, 1, 2].map((row) => columns.tokens.at(row))).toEqual([Int32Array.of(1, 2, 3), Int32Array.of(), Int32Array.of(4)]);
    expect([0, 1, 2].map((row) => columns.bytes.at(row))).toEqual([Uint8Array.of(1), Uint8Array.of(2, 3), Uint8Array.of()]);
    expect(columns.text.at(1)).toBe("b");
    expect(columns.padded.lengths).toEqual(Int32Array.of(1, 2, 0));
    for (const column of [columns.tokens, columns.bytes, columns.text])
      for (const row of [-1, 3, 0.5]) expect(() => column.at(row)).toThrow(`row ${row} is not one of 0 to 2`);
  });

  test("knows its place, and its keys when asked", () => {
    const { batch, asked } = make();
    expect(batch).toMatchObject({ epoch: 4, step: 6, size: 2, padding: 1, state: { position: 9 }, indices: Float64Array.of(5, 3, 4) });
    expect(asked).toEqual([]);
    expect(batch.keys).toEqual(["key 5", "key 3", "key 4"]);
    expect(batch.keys).toBe(batch.keys);
    expect(asked).toEqual([5, 3, 4]);
  });

  test("gives its real rows as samples, padding taken off", () => {
    expect([...make().batch.samples()]).toEqual([
      {
        image: Uint8Array.of(1, 2),
        label: 7n,
        tokens: Int32Array.of(1, 2, 3),
        padded: Float32Array.of(1, 2),
        inner: Int8Array.of(1, 2),
        bytes: Uint8Array.of(1),
        text: "a",
      },
      {
        image: Uint8Array.of(3, 4),
        label: 8n,
        tokens: Int32Array.of(),
        padded: Float32Array.of(3, 4, 5, 6),
        inner: Int8Array.of(1, 2, 3, 4),
        bytes: Uint8Array.of(2, 3),
        text: "b",
      },
    ]);
  });

  test("gives its memory back once, and only what is still its own", () => {
    const given: ArrayBuffer[][] = [];
    const { batch } = make({ recycle: (buffers) => given.push(buffers) });
    const own = batch.columns.image.data.buffer;
    structuredClone(batch.columns.label.data, { transfer: [batch.columns.label.data.buffer] });
    batch.release();
    batch.release();
    batch[Symbol.dispose]();
    expect(given).toHaveLength(1);
    expect(given[0]).toHaveLength(5);
    expect(given[0]![0]).toBe(own);
  });

  test("without recycle, release does nothing", () => {
    const { batch } = make();
    batch.release();
    expect(batch.columns.image.data).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6));
  });
});
