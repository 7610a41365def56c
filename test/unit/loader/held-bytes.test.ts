import { expect, test } from "vitest";
import { HeldSpan } from "../../../src/cache/span-lease.js";
import { BatchRows } from "../../../src/loader/batch-rows.js";
import { HeldBlocks, HeldInflated } from "../../../src/loader/held-bytes.js";

const BLOCK = 10;
/** Bytes 0 to 39 of an object, each its own offset; the span begins within the first block and ends within the last. */
const bytes = Uint8Array.from({ length: 40 }, (_, i) => i);
const leases = [
  [4, 10],
  [10, 20],
  [20, 26],
].map(([begin, end]) => ({ begin: begin!, bytes: bytes.subarray(begin, end), checksum: 0, release: () => {} }));

function rows(...indices: number[]): BatchRows {
  const batch = new BatchRows({ key: String, shardOf: () => 0, path: String }, indices.length);
  for (const index of indices) batch.add(index);
  return batch;
}

test("a record within a block is placed there, one across blocks is joined", () => {
  const held = new HeldBlocks(new HeldSpan(4, 26, leases, BLOCK), BLOCK);
  const batch = rows(5, 6, 7, 8);
  const records = [
    [4, 10],
    [12, 20],
    [8, 23],
    [26, 26],
  ] as const;
  records.forEach(([begin, end], row) => {
    held.place(begin, end, 100 + row, batch, row);
  });
  const found = records.map((_, row) => [...batch.bytes[row]!.subarray(batch.begins[row], batch.ends[row])]);
  expect(found).toEqual(records.map(([begin, end]) => [...bytes.subarray(begin, end)]));
  expect(batch.bytes.slice(0, 2)).toEqual([leases[0]!.bytes, leases[1]!.bytes]);
  expect(batch.bytes[1]).toBe(leases[1]!.bytes);
  expect([...batch.samples]).toEqual([100, 101, 102, 103]);
  expect(batch.byteLength).toBe(6 + 8 + 15);
});

test("an inflated shard is one piece of memory", () => {
  const batch = rows(0);
  new HeldInflated(bytes).place(30, 33, 9, batch, 0);
  expect(batch).toMatchObject({ bytes: [bytes], begins: Float64Array.of(30), ends: Float64Array.of(33) });
});

test("rows are used again for another batch, and keep no memory alive meanwhile", () => {
  const batch = rows(1, 2);
  batch.place(0, 1, bytes, 0, 5);
  batch.clear();
  expect(batch).toMatchObject({ count: 0, bytes: [], byteLength: 0 });
  batch.add(3);
  expect([batch.count, batch.indices[0]]).toEqual([1, 3]);
});
