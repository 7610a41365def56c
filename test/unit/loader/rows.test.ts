import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildRows, type Rows, type RowsManifest, type RowsStep } from "../../../src/loader/rows.js";
import { apportion, splitWeights } from "../../../src/loader/rows-split.js";

const manifestOf = (sizes: readonly number[]): RowsManifest => {
  const firsts = [0];
  for (const size of sizes) firsts.push(firsts.at(-1)! + size);
  return { sampleCount: firsts.at(-1)!, shardCount: sizes.length, shardFirst: (shard) => firsts[shard]! };
};
const even = manifestOf(new Array(10).fill(100));
const list = (rows: Rows) => Array.from({ length: rows.count }, (_, i) => rows.base(i));
const build = (...steps: RowsStep[]) => list(buildRows(even, steps));
const part = (weights: readonly number[], index: number, by: "sample" | "shard" = "sample", seed = 1): RowsStep => ({
  part: { seed, by, weights, part: index },
});
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const message = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
  return "nothing thrown";
};

describe("buildRows", () => {
  it("takes, selects and composes", () => {
    expect(build()).toEqual(upTo(1000));
    expect(build({ take: 3 })).toEqual([0, 1, 2]);
    expect(build({ range: { from: 990, to: 1000 } }, { take: 2 })).toEqual([990, 991]);
    expect(build({ range: { from: 100, to: 200 } }, { list: Float64Array.of(5, 0, 5, 99) }, { range: { from: 1, to: 4 } })).toEqual([
      100, 105, 199,
    ]);
    expect(build({ take: 0 })).toEqual([]);
    expect(build({ range: { from: 1000, to: 1000 } })).toEqual([]);
  });

  it("names the option and the count where a step asks for rows that are not there", () => {
    expect(message(() => build({ take: 1001 }))).toBe("MILLRACE_CONFIG take: expected a whole number from 0 to 1000, got 1001");
    expect(message(() => build({ take: 1.5 }))).toMatch(/^MILLRACE_CONFIG take: /);
    expect(message(() => build({ take: -1 }))).toMatch(/^MILLRACE_CONFIG take: /);
    expect(message(() => build({ range: { from: 5, to: 4 } }))).toBe(
      "MILLRACE_CONFIG select.to: expected a whole number from 5 to 1000, got 4",
    );
    expect(message(() => build({ range: { from: -1, to: 4 } }))).toMatch(/^MILLRACE_CONFIG select\.from: /);
    expect(message(() => build({ take: 10 }, { list: Float64Array.of(1, 10) }))).toBe(
      "MILLRACE_CONFIG select: expected a whole number from 0 to 9, got 10",
    );
    expect(message(() => build({ list: Float64Array.of(0.5) }))).toMatch(/^MILLRACE_CONFIG select: /);
    expect(message(() => build({ list: Float64Array.of(Number.NaN) }))).toMatch(/^MILLRACE_CONFIG select: /);
    expect(message(() => build(part([1], 1)))).toMatch(/^MILLRACE_CONFIG split\.part: /);
    expect(message(() => build(part([1], 0, "sample", 0.5)))).toMatch(/^MILLRACE_CONFIG split\.seed: /);
  });

  it("survives a structured clone of its steps", () => {
    const steps: RowsStep[] = [part([0.5, 0.5], 1), { list: Float64Array.of(7, 3) }];
    expect(build(...structuredClone(steps))).toEqual(build(...steps));
  });

  it("splits by sample into disjoint parts in the manifest's order, the same whichever is built first", () => {
    const weights = [0.7, 0.2, 0.1];
    const last = build(part(weights, 2));
    const parts = [0, 1, 2].map((i) => build(part(weights, i)));
    expect(parts.map((p) => p.length)).toEqual([700, 200, 100]);
    expect(parts[2]).toEqual(last);
    expect(parts.flat().toSorted((a, b) => a - b)).toEqual(upTo(1000));
    for (const p of parts) expect(p).toEqual(p.toSorted((a, b) => a - b));
    expect(build(part(weights, 2, "sample", 2))).not.toEqual(last);
    // Spread over the whole dataset, not a run of neighbours: each tenth of it has about a tenth of the part.
    for (let tenth = 0; tenth < 10; tenth++) {
      const inTenth = parts[1]!.filter((row) => Math.floor(row / 100) === tenth).length;
      expect(inTenth).toBeGreaterThan(5);
      expect(inTenth).toBeLessThan(40);
    }
  });

  it("leaves in no part what the shares leave", () => {
    const parts = [0, 1].map((i) => build(part([0.25, 0.25], i)));
    expect(parts.map((p) => p.length)).toEqual([250, 250]);
    expect(new Set(parts.flat()).size).toBe(500);
    const shards = [0, 1].map((i) => build(part([0.2, 0.3], i, "shard")));
    expect(shards.map((p) => p.length)).toEqual([200, 300]);
  });

  it("splits by shard into whole shards, nearest in samples", () => {
    const uneven = manifestOf([500, 20, 0, 300, 100, 80]);
    const rowsOf = (i: number) => list(buildRows(uneven, [part([0.6, 0.4], i, "shard")]));
    const [a, b] = [rowsOf(0), rowsOf(1)];
    expect([...a, ...b].toSorted((x, y) => x - y)).toEqual(upTo(1000));
    for (const shard of [0, 1, 3, 4, 5]) {
      const inA = a.filter((row) => row >= uneven.shardFirst(shard) && row < uneven.shardFirst(shard + 1)).length;
      expect([0, uneven.shardFirst(shard + 1) - uneven.shardFirst(shard)]).toContain(inA);
    }
    expect(Math.abs(a.length - 600)).toBeLessThanOrEqual(250);
    const even10 = [0, 1].map((i) => build(part([0.7, 0.3], i, "shard")));
    expect(even10.map((p) => p.length)).toEqual([700, 300]);
    for (const p of even10) expect(p).toEqual(p.toSorted((x, y) => x - y));
  });

  it("gives each part a shard, however small its share, and says so where there are too few", () => {
    for (let seed = 0; seed < 20; seed++) expect(build(part([0.99, 0.01], 1, "shard", seed)).length).toBe(100);
    expect(message(() => list(buildRows(manifestOf([10, 0]), [part([0.5, 0.5], 0, "shard")])))).toBe(
      'MILLRACE_CONFIG split.by: 2 parts of whole shards need as many shards, there are 1; use by: "sample"',
    );
  });

  it("splits a list in no order by shard, its order kept", () => {
    const chosen = Float64Array.of(950, 5, 107, 5, 955, 101);
    const parts = [0, 1, 2].map((i) => build({ list: chosen }, part([0.34, 0.33, 0.33], i, "shard")));
    expect(parts.map((p) => p.join()).toSorted()).toEqual(["107,101", "5,5", "950,955"]);
  });

  it("states the memory that it holds: a bit a row and an index for a split", () => {
    const million = manifestOf([1_000_000]);
    const bytes = buildRows(million, [part([0.5, 0.5], 0)]).memoryBytes;
    expect(bytes).toBeGreaterThanOrEqual(125_000);
    expect(bytes).toBeLessThan(130_000 + 16_000 / 8 + 16_000);
    expect(buildRows(million, [{ take: 5 }]).memoryBytes).toBe(0);
    expect(buildRows(million, [{ list: Float64Array.of(1, 2) }]).memoryBytes).toBe(16);
  });

  it("counts rows below a sample in any composition that rises", () => {
    const steps: fc.Arbitrary<RowsStep> = fc.oneof(
      fc.record({ take: fc.nat(200) }),
      fc.tuple(fc.nat(50), fc.nat(200)).map(([from, length]) => ({ range: { from, to: from + length } })),
      fc.uniqueArray(fc.nat(150), { maxLength: 60 }).map((rows) => ({ list: Float64Array.from(rows).sort() })),
      fc
        .record({ seed: fc.nat(), by: fc.constantFrom("sample" as const, "shard" as const), part: fc.nat(2) })
        .map((p) => ({ part: { ...p, weights: [0.5, 0.3, 0.1] } })),
    );
    const sizes = fc.array(fc.nat(120), { minLength: 1, maxLength: 8 });
    let checked = 0;
    fc.assert(
      fc.property(sizes, fc.array(steps, { maxLength: 3 }), (shardSizes, chain) => {
        const manifest = manifestOf(shardSizes);
        let rows: Rows;
        try {
          rows = buildRows(manifest, chain);
        } catch (error) {
          expect((error as { code: string }).code).toBe("MILLRACE_CONFIG");
          return;
        }
        checked++;
        const bases = list(rows);
        expect(bases).toEqual(bases.toSorted((a, b) => a - b));
        for (const x of [0, 1, 31, 32, 33, 100, ...shardSizes, manifest.sampleCount])
          expect(rows.rank!(x)).toBe(bases.filter((base) => base < x).length);
      }),
      { numRuns: 300 },
    );
    expect(checked).toBeGreaterThan(30);
    expect(buildRows(even, [{ list: Float64Array.of(2, 1) }]).rank).toBeUndefined();
  });
});

describe("splitWeights", () => {
  it("gives names and shares in the order they were written", () => {
    expect(splitWeights({ train: 0.7, val: 0.2, test: 0.1 })).toEqual({ names: ["train", "val", "test"], weights: [0.7, 0.2, 0.1] });
    expect(splitWeights({ some: 0.25 })).toEqual({ names: ["some"], weights: [0.25] });
  });

  it("refuses shares that are no shares", () => {
    expect(message(() => splitWeights({}))).toMatch(/^MILLRACE_CONFIG split: /);
    for (const share of [0, -0.1, Number.NaN, Number.POSITIVE_INFINITY, 1.5])
      expect(message(() => splitWeights({ val: share }))).toMatch(/^MILLRACE_CONFIG split\.val: /);
    expect(message(() => splitWeights({ train: 0.9, val: 0.2 }))).toBe("MILLRACE_CONFIG split: the shares sum to 1.1, more than 1");
  });
});

describe("apportion", () => {
  it("rounds by largest remainder and leaves nothing over", () => {
    expect(apportion(10, [0.34, 0.33, 0.33])).toEqual([4, 3, 3]);
    expect(apportion(20_000, [0.95, 0.05])).toEqual([19_000, 1000]);
    expect(apportion(3, [0.5, 0.25])).toEqual([1, 1]); // 1.5, 0.75 and a rest of 0.75
    expect(apportion(0, [0.5, 0.5])).toEqual([0, 0]);
    fc.assert(
      fc.property(fc.nat(10_000), fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 6 }), (total, parts) => {
        const sum = parts.reduce((a, b) => a + b);
        const sizes = apportion(
          total,
          parts.map((p) => p / sum),
        );
        expect(sizes.reduce((a, b) => a + b)).toBe(total);
        for (const [i, size] of sizes.entries()) expect(Math.abs(size - (total * parts[i]!) / sum)).toBeLessThan(1 + 1e-6);
      }),
    );
  });
});
