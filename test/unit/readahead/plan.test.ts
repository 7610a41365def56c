import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { coalesce } from "../../../src/readahead/plan.js";

describe("coalesce", () => {
  test("nothing gives no range", () => expect(coalesce([], [], 100)).toEqual([]));

  test("joins what touches, and gaps up to the largest that is worth it", () => {
    const rangeOf = new Uint32Array(5);
    expect(coalesce([0, 10, 30, 141, 400], [10, 20, 40, 150, 500], 101, rangeOf)).toEqual([
      { begin: 0, end: 150 },
      { begin: 400, end: 500 },
    ]);
    expect([...rangeOf]).toEqual([0, 0, 0, 0, 1]);
    expect(coalesce([0, 10, 30], [10, 20, 40], 0)).toEqual([
      { begin: 0, end: 20 },
      { begin: 30, end: 40 },
    ]);
  });

  test("for any records: each lies in its range, and ranges are as few as the gap allows", () => {
    const records = fc.array(fc.tuple(fc.nat(100), fc.nat(50)), { maxLength: 50 });
    fc.assert(
      fc.property(records, fc.nat(80), (steps, maxGap) => {
        const begins: number[] = [];
        const ends: number[] = [];
        let at = 0;
        for (const [gap, length] of steps) {
          begins.push(at + gap);
          at += gap + length;
          ends.push(at);
        }
        const rangeOf = new Uint32Array(begins.length);
        const ranges = coalesce(begins, ends, maxGap, rangeOf);
        begins.forEach((begin, i) => {
          const range = ranges[rangeOf[i]!]!;
          expect(range.begin <= begin && ends[i]! <= range.end).toBe(true);
        });
        for (let i = 1; i < ranges.length; i++) expect(ranges[i]!.begin - ranges[i - 1]!.end).toBeGreaterThan(maxGap);
        const wanted = begins.reduce((sum, begin, i) => sum + ends[i]! - begin, 0);
        const fetched = ranges.reduce((sum, { begin, end }) => sum + end - begin, 0);
        expect(fetched - wanted).toBeLessThanOrEqual(maxGap * Math.max(0, begins.length - ranges.length));
      }),
    );
  });
});
