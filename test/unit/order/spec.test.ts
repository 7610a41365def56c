import { describe, expect, it } from "vitest";
import { chooseOrder, type OrderFacts } from "../../../src/order/spec.js";

const KiB = 1024;
const MiB = 2 ** 20;
const shuffle = (windowBytes = 512 * MiB, mode: "window" | "global" = "window", seed = 17) => ({ seed, mode, windowBytes });
const facts = (sampleCount: number, sampleBytes: number, maxSampleBytes = sampleBytes): OrderFacts => ({
  sampleCount,
  byteLength: sampleCount * sampleBytes,
  maxSampleBytes,
});
const configError = (message: RegExp) => expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) });
const thrown = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe("chooseOrder", () => {
  it("takes chunks of about 10 MiB where there is enough data", () => {
    const spec = chooseOrder(facts(1_000_000, 128 * KiB), { shuffle: shuffle(), lanes: 24 });
    const chunkBytes = spec.chunks.uniformSize! * 128 * KiB;
    expect(chunkBytes).toBeGreaterThanOrEqual(8 * MiB);
    expect(chunkBytes).toBeLessThanOrEqual(10 * MiB);
    expect(spec.windowChunks).toBe(2);
    expect(spec.windowBytes).toBe(24 * 2 * chunkBytes);
    expect(spec.turnover).toBeLessThan(0.25);
    expect(spec.id).toBe(`window seed=17 lanes=24 chunk=${spec.chunks.uniformSize} window=2`);
  });

  it("leaves each lane 16 chunks at least, as far as there are samples", () => {
    const spec = chooseOrder(facts(20_000, 3 * KiB), { shuffle: shuffle(), lanes: 24 });
    expect(Math.floor(20_000 / 24 / spec.chunks.uniformSize!)).toBeGreaterThanOrEqual(16);
    expect(spec.windowChunks).toBe(16);
    expect(chooseOrder(facts(30, KiB), { shuffle: shuffle(), lanes: 24 }).chunks.uniformSize).toBe(1);
  });

  it("holds the windows to their budget, with allowance for samples of unequal size", () => {
    for (const [mean, max] of [
      [100 * KiB, 100 * KiB],
      [110 * KiB, 15 * MiB],
      [3 * MiB, 4 * MiB],
      [20 * MiB, 20 * MiB],
    ] as const)
      for (const lanes of [1, 4, 24])
        for (const budget of [480 * MiB, 2048 * MiB]) {
          const spec = chooseOrder(facts(500_000, mean, max), { shuffle: shuffle(budget), lanes });
          const samples = lanes * spec.windowChunks * spec.chunks.uniformSize!;
          expect(spec.windowBytes).toBeLessThanOrEqual(budget);
          expect(spec.windowBytes).toBeGreaterThanOrEqual(samples * mean);
          if (max === mean) expect(spec.windowBytes).toBe(samples * mean);
        }
  });

  it("takes smaller chunks rather than one chunk a window, and more of them where lanes are few", () => {
    const tight = chooseOrder(facts(1_000_000, 128 * KiB), { shuffle: shuffle(240 * MiB), lanes: 24 });
    expect(tight.windowChunks).toBe(2);
    expect(tight.chunks.uniformSize! * 128 * KiB).toBeLessThanOrEqual(5 * MiB);
    expect(chooseOrder(facts(1_000_000, 128 * KiB), { shuffle: shuffle(), lanes: 2 }).windowChunks).toBe(25);
    expect(chooseOrder(facts(1_000_000, KiB), { shuffle: shuffle(), lanes: 1000 }).windowChunks).toBe(1);
  });

  it("spaces the changes of windows evenly by its choice of chunk size", () => {
    // 2^20 samples in 24 or 16 lanes: chunk sizes that are powers of two would begin all 16 lanes at a chunk's start.
    for (const lanes of [4, 16, 24, 32])
      for (const bytes of [8, 64, 100, 256]) {
        const spec = chooseOrder(facts(2 ** 20, bytes * KiB), { shuffle: shuffle(), lanes });
        expect(spec.turnover).toBeLessThanOrEqual(1 / lanes + 0.2);
      }
    expect(chooseOrder(facts(1000, 1), { shuffle: shuffle(), lanes: 1 }).turnover).toBe(1);
  });

  it("says what is needed where not even one sample a lane fits", () => {
    expect(thrown(() => chooseOrder(facts(10_000, MiB, 40 * MiB), { shuffle: shuffle(), lanes: 24 }))).toEqual(
      configError(/^shuffle\.window: 24 lanes of one 40 MiB sample each need 960 MiB, the budget is 512 MiB; raise it or lower lanes$/),
    );
    expect(thrown(() => chooseOrder(facts(10_000, MiB, 600 * MiB), { shuffle: shuffle(512 * MiB, "global"), lanes: 24 }))).toEqual(
      configError(/^shuffle\.window: .*600 MiB.*512 MiB/),
    );
  });

  it("checks the seed and the lanes", () => {
    expect(thrown(() => chooseOrder(facts(10, 1), { shuffle: shuffle(MiB, "window", 0.5), lanes: 1 }))).toEqual(
      configError(/^shuffle\.seed: /),
    );
    for (const lanes of [0, -1, 1.5, Number.NaN])
      expect(thrown(() => chooseOrder(facts(10, 1), { shuffle: shuffle(), lanes }))).toEqual(configError(/^lanes: /));
  });

  it("makes a chunk of each compressed shard", () => {
    const raggedStarts = Float64Array.of(0, 10, 10, 25, 100);
    const ragged = { ...facts(100, 3 * MiB), raggedStarts, raggedMaxBytes: 40 * MiB };
    const spec = chooseOrder(ragged, { shuffle: shuffle(), lanes: 24 });
    expect(spec).toMatchObject({ mode: "window", lanes: 24, windowChunks: 3, id: "window seed=17 lanes=24 chunk=shard window=3" });
    expect([0, 1, 2, 3].map((c) => [spec.chunks.first(c), spec.chunks.size(c)])).toEqual([
      [0, 10],
      [10, 0],
      [10, 15],
      [25, 75],
    ]);
    expect([0, 9, 10, 24, 25, 99].map((sample) => spec.chunks.of(sample))).toEqual([0, 0, 2, 2, 3, 3]);
    const many = { ...ragged, raggedStarts: Float64Array.from({ length: 101 }, (_, i) => i) };
    expect(thrown(() => chooseOrder(many, { shuffle: shuffle(), lanes: 24 }))).toEqual(
      configError(/^shuffle\.window: 24 lanes of one 40 MiB compressed shard each need 960 MiB, the budget is 512 MiB/),
    );
    expect(thrown(() => chooseOrder(many, { shuffle: shuffle(200 * MiB, "global"), lanes: 24 }))).toEqual(
      configError(/^shuffle\.mode: "global" over compressed shards holds all of them, 300 MiB/),
    );
    expect(chooseOrder(many, { shuffle: shuffle(300 * MiB, "global"), lanes: 24 }).windowBytes).toBe(300 * MiB);
  });

  it("without shuffling keeps the manifest's order in chunks of about 10 MiB", () => {
    const spec = chooseOrder(facts(1000, MiB), { shuffle: false, lanes: 24 });
    expect(spec).toMatchObject({ mode: "sequential", lanes: 1, windowChunks: 1, id: "sequential" });
    expect(spec.chunks.uniformSize).toBe(10);
    const raggedStarts = Float64Array.of(0, 400, 1000);
    const shards = chooseOrder({ ...facts(1000, MiB), raggedStarts, raggedMaxBytes: 600 * MiB }, { shuffle: false, lanes: 24 });
    expect(shards.chunks.count).toBe(2);
    expect(shards.windowBytes).toBe(600 * MiB);
  });

  it("reads global orders ahead in groups that fit the budget", () => {
    expect(chooseOrder(facts(10_000, MiB), { shuffle: shuffle(512 * MiB, "global"), lanes: 24 })).toMatchObject({
      mode: "global",
      lanes: 1,
      windowChunks: 256,
      windowBytes: 256 * MiB,
      id: "global seed=17",
    });
    expect(chooseOrder(facts(10_000, MiB, 64 * MiB), { shuffle: shuffle(512 * MiB, "global"), lanes: 24 }).windowChunks).toBe(8);
  });

  it("takes an empty dataset without a fault: the loader refuses it", () => {
    for (const options of [shuffle(), shuffle(MiB, "global"), false] as const)
      expect(chooseOrder(facts(0, 0), { shuffle: options, lanes: 24 }).chunks.sampleCount).toBe(0);
  });
});
