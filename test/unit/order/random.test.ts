import { describe, expect, it } from "vitest";
import { sampleRandom } from "../../../src/order/random.js";

const draw = (count: number, ...key: [number, number, number]) => {
  const random = sampleRandom(...key);
  return Array.from({ length: count }, random);
};
const chiSquareZ = (counts: readonly number[], expected: number) =>
  (counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0) - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1));

describe("sampleRandom", () => {
  it("repeats for the same key and differs for every other", () => {
    expect(draw(5, 1, 2, 3)).toEqual(draw(5, 1, 2, 3));
    const others = [draw(5, 1, 2, 3), draw(5, 2, 2, 3), draw(5, 1, 3, 3), draw(5, 1, 2, 4), draw(5, 1, 2, 3 + 2 ** 32), draw(5, 3, 2, 1)];
    expect(new Set(others.map(String)).size).toBe(6);
  });

  it("stays the same from release to release", () => {
    expect(draw(3, 17, 0, 42)).toMatchInlineSnapshot(`
      [
        0.9880601884797215,
        0.09105159947648644,
        0.2405964070931077,
      ]
    `);
  });

  it("is uniform along one stream, across samples, epochs and seeds, and in pairs", () => {
    const count = 64_000;
    const streams: Record<string, (i: number) => number> = {
      along: sampleRandom(1, 1, 1),
      samples: (i) => sampleRandom(1, 0, i)(),
      epochs: (i) => sampleRandom(1, i, 0)(),
      seeds: (i) => sampleRandom(i, 0, 0)(),
    };
    for (const [name, stream] of Object.entries(streams)) {
      const singles = new Array<number>(64).fill(0);
      const pairs = new Array<number>(64).fill(0);
      let last = 0;
      for (let i = 0; i < count; i++) {
        const value = stream(i);
        if (value < 0 || value >= 1) throw new Error(`${value} is not in [0, 1)`);
        singles[Math.floor(value * 64)]!++;
        if (i % 2 === 1) pairs[Math.floor(value * 8) * 8 + Math.floor(last * 8)]!++;
        last = value;
      }
      expect(chiSquareZ(singles, count / 64), name).toBeLessThan(4);
      expect(chiSquareZ(pairs, count / 128), `${name}, pairs`).toBeLessThan(4);
    }
  });
});
