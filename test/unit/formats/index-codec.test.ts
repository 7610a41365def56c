import { expect, it } from "vitest";
import type { RecordIndex } from "../../../src/formats/format.js";
import { decodeIndex, encodeIndex } from "../../../src/formats/index-codec.js";

const contiguous: RecordIndex = { begins: Float64Array.of(0, 5, 9), ends: Float64Array.of(5, 9, 9) };

it.each<[string, RecordIndex]>([
  ["contiguous", contiguous],
  ["empty", { begins: new Float64Array(0), ends: new Float64Array(0) }],
  ["with gaps", { begins: Float64Array.of(4, 10), ends: Float64Array.of(9, 12) }],
  ["out of order", { begins: Float64Array.of(10, 2), ends: Float64Array.of(12, 7) }],
  ["beyond 4 GiB", { begins: Float64Array.of(0, 2 ** 40), ends: Float64Array.of(2 ** 40, 2 ** 41 + 1) }],
  ["with keys", { ...contiguous, keys: ["a", "größe/\n🙂", ""] }],
  ["with keys, beyond 4 GiB", { begins: Float64Array.of(1), ends: Float64Array.of(2 ** 33), keys: ["a"] }],
  ["compressed", { ...contiguous, inflatedSize: 9 }],
  ["compressed and empty", { begins: new Float64Array(0), ends: new Float64Array(0), inflatedSize: 0 }],
])("comes back: %s", (_, index) => {
  expect(decodeIndex(encodeIndex(index))).toEqual(index);
  // From memory that is not aligned.
  const bytes = encodeIndex(index);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  expect(decodeIndex(shifted.subarray(1))).toEqual(index);
});

it("takes 4 bytes a record where records follow each other", () => {
  const begins = Float64Array.from({ length: 1000 }, (_, i) => i * 100);
  expect(encodeIndex({ begins, ends: begins.map((begin) => begin + 100) }).length).toBe(40 + 4000);
});

it("does not read back damage", () => {
  const bytes = encodeIndex({ ...contiguous, keys: ["a", "b", "c"], inflatedSize: 9 });
  for (let i = 0; i < bytes.length; i++) {
    const broken = Uint8Array.from(bytes);
    broken[i]! ^= 1 << (i % 8);
    expect(decodeIndex(broken)).toBeUndefined();
    expect(decodeIndex(bytes.subarray(0, i))).toBeUndefined();
  }
  expect(decodeIndex(Buffer.concat([bytes, Buffer.alloc(1)]))).toBeUndefined();
});
