import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { partOf, planSpans, SPAN_BYTES } from "../../../src/blocks/span.js";

const BLOCK = 1024;
const ANYWHERE = { maxBytes: SPAN_BYTES, groupBytes: 0 };

describe("partOf", () => {
  it("is the whole block, cut at the object's end, where it is admitted", () => {
    expect(partOf(2, BLOCK, 10_000, 2100, 2200, true)).toEqual({ block: 2, begin: 2048, end: 3072 });
    expect(partOf(9, BLOCK, 10_000, 9300, 9400, true)).toEqual({ block: 9, begin: 9216, end: 10_000 });
  });

  it("is what is needed of it where it is not", () => {
    expect(partOf(2, BLOCK, 10_000, 2100, 9000, false)).toEqual({ block: 2, begin: 2100, end: 3072 });
    expect(partOf(3, BLOCK, 10_000, 2100, 9000, false)).toEqual({ block: 3, begin: 3072, end: 4096 });
    expect(partOf(8, BLOCK, 10_000, 2100, 9000, false)).toEqual({ block: 8, begin: 8192, end: 9000 });
  });
});

describe("planSpans", () => {
  const parts = (...blocks: number[]) => blocks.map((block) => partOf(block, BLOCK, 1e6, 0, 1e6, true));

  it("joins neighbours and leaves gaps", () => {
    expect(planSpans(parts(0, 1, 2, 5, 6, 9), ANYWHERE)).toEqual([
      { first: 0, count: 3, begin: 0, end: 3 * BLOCK },
      { first: 3, count: 2, begin: 5 * BLOCK, end: 7 * BLOCK },
      { first: 5, count: 1, begin: 9 * BLOCK, end: 10 * BLOCK },
    ]);
    expect(planSpans([], ANYWHERE)).toEqual([]);
  });

  it("does not join parts that do not touch", () => {
    const exact = [partOf(0, BLOCK, 1e6, 0, 500, false), partOf(1, BLOCK, 1e6, 0, 1e6, true)];
    expect(planSpans(exact, ANYWHERE).map(({ begin, end }) => [begin, end])).toEqual([
      [0, 500],
      [BLOCK, 2 * BLOCK],
    ]);
  });

  it("cuts at the length, and at groups where there are peers", () => {
    expect(planSpans(parts(0, 1, 2, 3, 4), { maxBytes: 2 * BLOCK, groupBytes: 0 }).map((span) => span.count)).toEqual([2, 2, 1]);
    expect(planSpans(parts(1, 2, 3, 4, 5), { maxBytes: 9 * BLOCK, groupBytes: 2 * BLOCK }).map((span) => span.count)).toEqual([1, 2, 2]);
  });

  it("covers each part once, in order, within the limits", () => {
    const chosen = fc.uniqueArray(fc.nat(60), { maxLength: 40 }).map((blocks) => blocks.sort((a, b) => a - b));
    fc.assert(
      fc.property(chosen, fc.integer({ min: 1, max: 9 }), fc.constantFrom(0, 2, 4), (blocks, max, group) => {
        const all = parts(...blocks);
        const spans = planSpans(all, { maxBytes: max * BLOCK, groupBytes: group * BLOCK });
        expect(spans.flatMap((span) => all.slice(span.first, span.first + span.count))).toEqual(all);
        for (const span of spans) {
          expect(span.end - span.begin).toBe(span.count * BLOCK);
          expect(span.end - span.begin).toBeLessThanOrEqual(max * BLOCK);
          if (group > 0) expect(Math.floor(span.begin / (group * BLOCK))).toBe(Math.floor((span.end - 1) / (group * BLOCK)));
        }
      }),
    );
  });
});
