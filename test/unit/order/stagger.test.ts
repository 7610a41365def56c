import { describe, expect, it } from "vitest";
import { laneStart, staggeredFirstWindows, turnoverShare } from "../../../src/order/stagger.js";

describe("staggeredFirstWindows", () => {
  it("deals lanes out by what they have of their first chunk", () => {
    expect([...staggeredFirstWindows([5, 1, 3, 7], 2)]).toEqual([1, 1, 2, 2]); // in the order 1, 3, 5, 7: 1, 2, 1, 2
    expect([...staggeredFirstWindows([4, 4, 4, 4, 4, 4], 3)]).toEqual([1, 2, 3, 1, 2, 3]);
    expect([...staggeredFirstWindows([4, 4, 4, 4], 16)]).toEqual([1, 5, 9, 13]);
    expect([...staggeredFirstWindows([4, 1, 3, 2], 6)]).toEqual([5, 1, 2, 4]); // 0, 1.5, 3, 4.5 chunks, by fraction 0, 3, 1.5, 4.5
    expect([...staggeredFirstWindows([], 3)]).toEqual([]);
  });
});

describe("turnoverShare", () => {
  it("is all of the windows where lanes change together, and one lane's where they are evenly spaced", () => {
    expect(turnoverShare(24 * 640, 24, 64, 1)).toBeCloseTo(1, 1); // every lane begins at a chunk's start
    expect(turnoverShare(24 * 640, 24, 64, 4)).toBeCloseTo(0.25, 2);
    expect(turnoverShare(8 * (640 + 8), 8, 64, 1)).toBeCloseTo(1 / 8, 1);
    expect(turnoverShare(1000, 1, 10, 4)).toBe(1);
  });
});

describe("laneStart", () => {
  it("cuts the samples into lanes as long as their positions", () => {
    expect([0, 1, 2, 3].map((lane) => laneStart(11, 3, lane))).toEqual([0, 4, 8, 11]);
    expect([0, 1, 2, 3, 4].map((lane) => laneStart(2, 4, lane))).toEqual([0, 1, 2, 2, 2]);
  });
});
