import { describe, expect, test } from "vitest";
import { planRuns } from "../../../src/checkpoint/load-plan.js";

const MIB = 2 ** 20;
const most = { mostBytes: 64 * MIB };
const extent = (begin: number, end: number, align = 1) => ({ begin, end, align });

describe("planRuns", () => {
  test("neighbours lie in one buffer, and are one piece", () => {
    expect(planRuns([extent(100, 116, 8), extent(116, 120, 4), extent(120, 121)], most)).toEqual([
      { first: 0, places: [0, 16, 20], pieces: [{ begin: 100, end: 121, at: 0 }], byteLength: 21 },
    ]);
  });

  test("what is not aligned in the file is in memory", () => {
    expect(planRuns([extent(9, 12), extent(12, 20, 4), extent(20, 36, 8)], most)).toEqual([
      {
        first: 0,
        places: [0, 4, 16],
        pieces: [
          { begin: 9, end: 12, at: 0 },
          { begin: 12, end: 20, at: 4 },
          { begin: 20, end: 36, at: 16 },
        ],
        byteLength: 32,
      },
    ]);
  });

  test("a gap is not held; one of more than 32 MiB ends the run", () => {
    const near = planRuns([extent(0, 8), extent(8 + 32 * MIB, 16 + 32 * MIB)], most);
    expect(near).toMatchObject([{ places: [0, 8], byteLength: 16 }]);
    const far = planRuns([extent(0, 8), extent(9 + 32 * MIB, 16 + 32 * MIB)], most);
    expect(far.map(({ first, byteLength }) => [first, byteLength])).toEqual([
      [0, 8],
      [1, 7],
    ]);
  });

  test("a buffer has its bound; what is longer has one of its own", () => {
    const runs = planRuns([extent(0, 40 * MIB), extent(40 * MIB, 64 * MIB), extent(64 * MIB, 65 * MIB), extent(65 * MIB, 200 * MIB)], most);
    expect(runs.map(({ first, places, byteLength }) => [first, places.length, byteLength])).toEqual([
      [0, 2, 64 * MIB],
      [2, 1, MIB],
      [3, 1, 135 * MIB],
    ]);
  });

  test("empty tensors have a place and no bytes", () => {
    expect(planRuns([extent(10, 10, 8), extent(10, 10, 4)], most)).toEqual([{ first: 0, places: [0, 0], pieces: [], byteLength: 0 }]);
    expect(planRuns([], most)).toEqual([]);
  });
});
