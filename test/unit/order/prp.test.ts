import { describe, expect, it } from "vitest";
import { permutation } from "../../../src/order/prp.js";

const all = (size: number, key: readonly number[]) => {
  const p = permutation(size, key);
  return Array.from({ length: size }, (_, i) => p.at(i));
};

/** Standard deviations above what uniform counts give. */
function chiSquareZ(counts: Iterable<number>, cells: number, expected: number): number {
  let sum = 0;
  let seen = 0;
  for (const count of counts) {
    sum += (count - expected) ** 2 / expected;
    seen++;
  }
  sum += (cells - seen) * expected;
  return (sum - (cells - 1)) / Math.sqrt(2 * (cells - 1));
}

describe("permutation", () => {
  it("holds every value once, and its inverse finds it, for all sizes up to 300", () => {
    for (let size = 0; size <= 300; size++) {
      const p = permutation(size, [size, 0, 1]);
      const values = all(size, [size, 0, 1]);
      expect(values.toSorted((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
      for (const [i, value] of values.entries()) expect(p.indexOf(value)).toBe(i);
    }
  });

  it("is exact up to 2^53 values", () => {
    for (const size of [2 ** 31 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 40 + 12_345, 2 ** 53 - 1, 2 ** 53]) {
      const p = permutation(size, [5, 6, 7]);
      const seen = new Set<number>();
      for (let i = 0; i < 500; i++) {
        const place = i % 2 === 0 ? i : size - i;
        const value = p.at(place);
        expect(Number.isSafeInteger(value) && value >= 0 && value < size).toBe(true);
        expect(p.indexOf(value)).toBe(place);
        seen.add(value);
      }
      expect(seen.size).toBe(500);
    }
  });

  it("stays the same from release to release: saved states name positions in it", () => {
    expect(all(10, [17, 0, 1])).toMatchInlineSnapshot(`
      [
        2,
        6,
        7,
        5,
        8,
        1,
        3,
        9,
        0,
        4,
      ]
    `);
    const large = permutation(1_281_167, [17, 3, 2]);
    expect([0, 1, 2, 1_281_166].map((i) => large.at(i))).toMatchInlineSnapshot(`
      [
        940098,
        150768,
        907626,
        407762,
      ]
    `);
    const huge = permutation(2 ** 45, [-1, 2 ** 40, 2]);
    expect([0, 1, 2].map((i) => huge.at(i))).toMatchInlineSnapshot(`
      [
        396556721111,
        23588104146586,
        10779317534241,
      ]
    `);
  });

  it("differs by every number of its key, also in the high words", () => {
    const keys = [
      [1, 0, 1],
      [2, 0, 1],
      [1, 1, 1],
      [1, 0, 2],
      [1 + 2 ** 32, 0, 1],
      [-1, 0, 1],
      [1, 0, 1, 0],
      [0, 1, 1],
    ];
    const orders = new Set(keys.map((key) => all(50, key).join()));
    expect(orders.size).toBe(keys.length);
  });

  it("gives all orders of few values equally often", () => {
    for (const [size, orders] of [
      [2, 2],
      [3, 6],
      [4, 24],
      [5, 120],
      [6, 720],
    ] as const) {
      const counts = new Map<string, number>();
      for (let seed = 0; seed < orders * 50; seed++) {
        const order = all(size, [seed, 7, 1]).join();
        counts.set(order, (counts.get(order) ?? 0) + 1);
      }
      expect(chiSquareZ(counts.values(), orders, 50)).toBeLessThan(4);
    }
  });

  it("puts any two values in any two places equally often", () => {
    for (const size of [8, 15, 16, 17, 33, 64]) {
      const counts = new Map<number, number>();
      const perPair = 20;
      for (let seed = 0; seed < size * (size - 1) * perPair; seed++) {
        const p = permutation(size, [seed, 7, 2]);
        const pair = p.at(0) * size + p.at(1);
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
      expect(chiSquareZ(counts.values(), size * (size - 1), perPair)).toBeLessThan(4);
    }
  });

  it("leaves no trace of neighbourhood within one large permutation", () => {
    const size = 100_003;
    const p = permutation(size, [3, 0, 3]);
    const steps = new Array<number>(100).fill(0);
    for (let i = 0; i + 1 < size; i++) steps[Math.floor((((p.at(i + 1) - p.at(i) + size) % size) * 100) / size)]!++;
    expect(chiSquareZ(steps, 100, (size - 1) / 100)).toBeLessThan(4);
  });
});
