import { describe, expect, test } from "vitest";
import type { Fields } from "../../../src/api.js";
import { BatchMemory } from "../../../src/loader/batch-memory.js";
import { columnBuilder } from "../../../src/loader/columns.js";
import type { ValueSource } from "../../../src/loader/field-value.js";
import { fieldPlans } from "../../../src/loader/fit.js";
import { columnBuffers } from "../../../src/loader/wire-column.js";

function builder(spec: Fields[string], rows: number, source: ValueSource = "record", memory = new BatchMemory(false)) {
  return columnBuilder(fieldPlans({ f: spec })[0]!, rows, source, memory, 0);
}
function column(spec: Fields[string], values: readonly unknown[], source: ValueSource = "record") {
  const building = builder(spec, values.length, source);
  for (const value of values) building.push(value, { other: 1 });
  return building.finish();
}

describe("columns", () => {
  test("of scalars", () => {
    expect(column("int32", [1, 2n, BigInt64Array.of(3n), new TextEncoder().encode("4")])).toEqual({
      kind: "tensor",
      dtype: "int32",
      shape: [4],
      data: Int32Array.of(1, 2, 3, 4),
    });
  });

  test("of shaped tensors, optional rows zeroed also in memory used before", () => {
    const memory = new BatchMemory(true);
    const dirty = new Int16Array(6).fill(9);
    memory.give([dirty.buffer]);
    const building = builder({ dtype: "int16", shape: [2], optional: true }, 3, "record", memory);
    for (const value of [Int16Array.of(1, 2), undefined, Uint8Array.of(5, 0, 6, 0)]) building.push(value, {});
    const made = building.finish();
    expect(made).toEqual({ kind: "tensor", dtype: "int16", shape: [3, 2], data: Int16Array.of(1, 2, 0, 0, 5, 6) });
    expect(columnBuffers(made)[0]).toBe(dirty.buffer);
  });

  test("of rows that differ", () => {
    expect(column({ dtype: "float32", shape: [null], optional: true }, [Float32Array.of(1), undefined, Float32Array.of(2, 3)])).toEqual({
      kind: "ragged",
      dtype: "float32",
      values: Float32Array.of(1, 2, 3),
      offsets: Float64Array.of(0, 1, 1, 3),
    });
    // Raw bytes at an odd place cannot be viewed as elements.
    const odd = Uint8Array.of(9, 1, 0, 2, 0).subarray(1);
    expect(column({ dtype: "uint16", shape: [null] }, [odd])).toMatchObject({
      values: Uint16Array.of(1, 2),
      offsets: Float64Array.of(0, 2),
    });
  });

  test("padded to the longest, with lengths", () => {
    expect(
      column({ dtype: "int64", shape: [null], pad: -1, optional: true }, [BigInt64Array.of(1n), undefined, BigInt64Array.of(2n, 3n)]),
    ).toEqual({
      kind: "tensor",
      dtype: "int64",
      shape: [3, 2],
      data: BigInt64Array.of(1n, -1n, -1n, -1n, 2n, 3n),
      lengths: Int32Array.of(1, 0, 2),
    });
    expect(column({ dtype: "uint8", shape: [null, 2], pad: 9 }, [Uint8Array.of(1, 2), Uint8Array.of(3, 4, 5, 6)])).toMatchObject({
      shape: [2, 2, 2],
      data: Uint8Array.of(1, 2, 9, 9, 3, 4, 5, 6),
      lengths: Int32Array.of(1, 2),
    });
  });

  test("padded within: the open dimension is not the first", () => {
    const rows = [Uint8Array.of(1, 0, 2, 0), Uint8Array.of(1, 0, 2, 0, 3, 0, 4, 0), undefined];
    expect(column({ dtype: "int16", shape: [2, null], pad: 0, optional: true }, rows)).toMatchObject({
      shape: [3, 2, 2],
      data: Int16Array.of(1, 0, 2, 0, 1, 2, 3, 4, 0, 0, 0, 0),
      lengths: Int32Array.of(1, 2, 0),
    });
  });

  test("of bytes, exactly as long as they are", () => {
    const made = column("bytes", [Uint8Array.of(1, 2), "c", new Uint8Array(0)]);
    expect(made).toEqual({ kind: "bytes", values: Uint8Array.of(1, 2, 99), offsets: Float64Array.of(0, 2, 3, 3) });
    expect(columnBuffers(made).map((buffer) => buffer.byteLength)).toEqual([3, 32]);
  });

  test("of text and json", () => {
    expect(column("utf8", ["a", new TextEncoder().encode("b")])).toEqual({ kind: "values", values: ["a", "b"] });
    expect(column("json", ["[1]", 2])).toEqual({ kind: "values", values: [[1], 2] });
    // A decoder's value is what it is.
    expect(column("json", ["[1]"], "decoder")).toEqual({ kind: "values", values: ["[1]"] });
    // What an Example's lists are in is the next record's too.
    const reused = Float32Array.of(1, 2);
    const shared = new Uint8Array(new SharedArrayBuffer(2));
    const { values } = column("json", [reused, [shared]]) as { values: readonly unknown[] };
    reused.fill(9);
    shared.fill(9);
    expect(values).toEqual([Float32Array.of(1, 2), [new Uint8Array(2)]]);
  });

  test("of a decoder's results: arrays are elements, and may be used again for the next sample", () => {
    const scratch = new Uint8Array(2);
    const building = [
      builder({ dtype: "uint8", shape: [null] }, 2, "decoder"),
      builder("bytes", 2, "decoder"),
      builder({ dtype: "float32", shape: [2] }, 2, "decoder"),
    ];
    for (const fill of [1, 2]) for (const each of building) each.push(scratch.fill(fill), {});
    const [ragged, bytes, tensor] = building.map((each) => each.finish());
    expect(ragged).toMatchObject({ values: Uint8Array.of(1, 1, 2, 2) });
    expect(bytes).toMatchObject({ values: Uint8Array.of(1, 1, 2, 2) });
    expect(tensor).toMatchObject({ data: Float32Array.of(1, 1, 2, 2) });
  });

  test.each<[Fields[string], readonly [good: unknown, bad: unknown]]>([
    ["int32", [1, 1.5]],
    [{ dtype: "uint8", shape: [null] }, [Uint8Array.of(1), [300]]],
    [{ dtype: "uint8", shape: [null, 2], pad: 0 }, [Uint8Array.of(1, 2), Uint8Array.of(1)]],
    ["bytes", [Uint8Array.of(1), 7]],
    ["utf8", ["a", Uint8Array.of(0xff)]],
  ])("a row that fails adds nothing, and rows can be forgotten: %j", (spec, [good, bad]) => {
    const building = builder(spec, 4);
    building.push(good, {});
    expect(() => building.push(bad, {})).toThrow(expect.objectContaining({ code: "MILLRACE_FORMAT" }));
    building.push(good, {});
    building.truncate(2);
    building.truncate(1);
    expect(() => building.push(undefined, { other: 1 })).toThrow('field "f" is missing; there are: other');
    expect(building.finish()).toEqual(column(spec, [good]));
  });
});

describe("memory given back", () => {
  test("is taken where it is large enough and not far too large, the best first", () => {
    const memory = new BatchMemory(true);
    const [small, fitting, loose, huge] = [10, 100, 120, 1000].map((size) => new ArrayBuffer(size));
    memory.give([huge!, loose!, small!, fitting!, new ArrayBuffer(0)]);
    expect(memory.take(100)).toBe(fitting);
    expect(memory.take(100)).toBe(loose);
    expect(memory.take(100).byteLength).toBe(104);
    expect(new BatchMemory(false).take(100).byteLength).toBe(100);
    expect(memory.reuse(100)).toBeUndefined();
    expect(memory.drain()).toEqual([huge, small]);
  });

  test("is bounded in number", () => {
    const memory = new BatchMemory(true);
    for (let i = 0; i < 100; i++) memory.give([new ArrayBuffer(8)]);
    expect(memory.drain()).toHaveLength(64);
  });

  test("serves columns that come out shorter than planned", () => {
    const memory = new BatchMemory(true);
    const building = builder("float64", 4, "record", memory);
    building.push(1, {});
    expect(columnBuffers(building.finish()).map((buffer) => buffer.byteLength)).toEqual([8]);
    expect(memory.drain().map((buffer) => buffer.byteLength)).toEqual([32]);
  });
});
