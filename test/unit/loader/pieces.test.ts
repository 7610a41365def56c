import { expect, test } from "vitest";
import type { Manifest } from "../../../src/formats/manifest.js";
import { Piece, type PieceSource } from "../../../src/loader/piece.js";

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
