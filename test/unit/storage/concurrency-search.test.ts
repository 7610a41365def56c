import fc from "fast-check";
import { expect, it } from "vitest";
import { ConcurrencySearch } from "../../../src/storage/concurrency-search.js";
import { seededRandom } from "../../support/origin/shaping.js";

/** Runs rounds on an origin that gives each place 1, and all together no more than `cap`, measured with `noise`; the places of each round. */
function rounds(cap: number, count: number, noise: () => number = () => 1, search = new ConcurrencySearch(64)): number[] {
  return Array.from({ length: count }, () => {
    const { places } = search;
    search.measured(Math.min(places, cap) * noise());
    return places;
  });
}

it("doubles while that brings more, having wasted the first round on warming up", () => {
  expect(rounds(Number.POSITIVE_INFINITY, 6)).toEqual([16, 16, 32, 64, 64, 64]);
});

it("comes down to a quarter above what is needed, a narrow round at a time", () => {
  expect(rounds(19, 9)).toEqual([16, 16, 32, 12, 24, 24, 24, 24, 24]);
  expect(rounds(2, 12)).toEqual([16, 16, 32, 10, 8, 6, 5, 4, 4, 5, 5, 5]);
});

it("looks again every twelve rounds, narrower by a third, and stays where it was right", () => {
  const places = rounds(19, 200).slice(4);
  expect(new Set(places)).toEqual(new Set([24, 16]));
  expect(places.filter((one) => one === 16)).toHaveLength(15);
});

it.each([8, 16, 30, 45])("finds %i with measurements that are a sixth off either way", (cap) => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const settled = rounds(cap, 300, () => 5 / 6 + random() / 3).slice(20);
    const used = settled.reduce((sum, places) => sum + Math.min(places, cap), 0) / (settled.length * cap);
    expect(used).toBeGreaterThan(0.92);
    expect(settled.sort((a, b) => a - b)[settled.length >> 1]).toBeLessThan(2 * cap);
  }
});

it("follows an origin that widens or narrows at any time", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 50 }),
      fc.integer({ min: 4, max: 50 }),
      fc.integer({ min: 1, max: 40 }),
      (before, after, when) => {
        const search = new ConcurrencySearch(64);
        rounds(before, when, undefined, search);
        const places = rounds(after, 80, undefined, search).at(-14)!;
        expect(rounds(after, 14, undefined, search)).toContain(places);
        const settled = Math.max(...rounds(after, 14, undefined, search));
        expect(settled).toBeGreaterThanOrEqual(after);
        expect(settled).toBeLessThanOrEqual(Math.max(5, Math.ceil(1.5 * after)));
      },
    ),
  );
});

it("keeps within its bounds, whatever is measured", () => {
  const measured = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { maxLength: 200 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), measured, (most, list) => {
      const search = new ConcurrencySearch(most);
      for (const throughput of list) {
        search.measured(throughput);
        expect(search.places).toBeLessThanOrEqual(most);
        expect(search.places).toBeGreaterThanOrEqual(Math.min(4, most));
        expect(Number.isInteger(search.places)).toBe(true);
      }
    }),
  );
});
