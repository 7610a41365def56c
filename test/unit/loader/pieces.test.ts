import { expect, test } from "vitest";
import type { Manifest } from "../../../src/formats/manifest.js";
import { BatchRows } from "../../../src/loader/batch-rows.js";
import { Piece, type PieceSource } from "../../../src/loader/piece.js";
import { EpochPieces } from "../../../src/loader/pieces.js";
import { EpochOrder } from "../../../src/order/epoch-order.js";
import { chooseOrder } from "../../../src/order/spec.js";

const BLOCK = 2 ** 20;
/** Samples of 100 bytes, one after the other, in shards of 1000. */
function source(disk: boolean, compressed = false): PieceSource {
  const manifest = {
    shardOf: (sample: number) => Math.floor(sample / 1000),
    recordBegin: (sample: number) => (sample % 1000) * 100,
    recordEnd: (sample: number) => (sample % 1000) * 100 + 100,
    compressed: () => compressed,
    inflatedSize: () => 100_000,
  } as unknown as Manifest;
  const cache = { blockSize: BLOCK, disk: disk ? {} : undefined } as PieceSource["cache"];
  return {
    manifest,
    cache,
    rows: { count: 3000, base: (i) => (i * 7) % 3000, memoryBytes: 0 },
    object: () => undefined as never,
    served: () => {},
  };
}

test("a piece counts with the slots that it takes, or the blocks that a disk holds", () => {
  expect(new Piece(source(false), 0, 1, [0]).bytes).toBe(16 * 1024);
  expect(new Piece(source(true), 0, 1, [0]).bytes).toBe(BLOCK);
});

test("rows in no order make one range where their records are neighbours, and one a shard where it is compressed", () => {
  const rows = Array.from({ length: 300 }, (_, i) => i);
  expect(new Piece(source(false), 0, 300, rows).ranges().map(({ shard }) => shard)).toEqual([0, 1, 2]);
  const whole = new Piece(source(false, true), 0, 300, rows);
  expect(whole.ranges()).toEqual([0, 1, 2].map((shard) => ({ shard, begin: 0, end: 100_000 })));
  expect(whole.bytes).toBe(300_000);
});

/** What a run's read-ahead and its batches see of an epoch of 3,000 samples from position `from` on, the first `soon` positions apart. */
function epoch(from: number, soon: number) {
  const order = new EpochOrder(chooseOrder(FACTS, { shuffle: { seed: 1, mode: "window", windowBytes: 2 ** 20 }, lanes: 4 }), 0);
  const whole = { ...source(false), rows: { count: 3000, base: (i: number) => i, rank: (i: number) => i, memoryBytes: 0 } };
  return { order, pieces: new EpochPieces(order, whole, from, () => true, from + soon) };
}
const FACTS = { sampleCount: 3000, byteLength: 300_000, maxSampleBytes: 100 };

test("what is needed soon comes first, in pieces apart that have nothing else", () => {
  for (const from of [0, 1001]) {
    const { order, pieces } = epoch(from, 16);
    const rows = new BatchRows({ classes: undefined } as never, 3000);
    const soon = new Set<Piece>();
    for (let position = from; position < from + 16; position++) soon.add(pieces.take(position, rows));
    const planned = [];
    for (let next = pieces.next(); next.done !== true && planned.length < soon.size; next = pieces.next()) planned.push(next.value);
    expect(new Set(planned)).toEqual(soon);
    const later = new Set<Piece>();
    for (let position = from + 16; position < 3000; position++) later.add(pieces.take(position, rows));
    expect([...later].filter((piece) => soon.has(piece))).toEqual([]);
    expect(Array.from(rows.indices.subarray(0, rows.count))).toEqual(
      Array.from({ length: 3000 - from }, (_, i) => order.sampleAt(from + i)),
    );
  }
});

test("every piece is used up by its samples, whatever is needed soon", () => {
  for (const soon of [0, 1, 37, 3000]) {
    const { pieces } = epoch(0, soon);
    const rows = new BatchRows({ classes: undefined } as never, 3000);
    let open = 0;
    const seen = new Set<Piece>();
    for (let position = 0; position < 3000; position++) {
      const piece = pieces.take(position, rows);
      if (!seen.has(piece)) open++;
      seen.add(piece);
      if (piece.used()) open--;
    }
    expect(open).toBe(0);
  }
});
