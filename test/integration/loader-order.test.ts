/** Invariants of the order: the same samples, once each, with the same randomness, whatever reads them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CacheOptions, type Dataset, type LoaderOptions, type Millrace, openMillrace } from "../../src/index.js";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";
import decoder from "./fixtures/double-label.js";

const fields = { image: "bytes", label: "int32" } as const;
const SAMPLES = 150;
type Row = `${number}:${number}:${number}`;

let plain: LocalDataset;
let packed: LocalDataset;
let folder: string;
beforeAll(async () => {
  plain = await localDataset({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 2_000 });
  packed = await localDataset({ format: "webdataset", samples: SAMPLES, shards: 5, bytesPerSample: 2_000, gzip: true });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
afterAll(async () => {
  await plain.remove();
  await packed.remove();
  await rm(folder, { recursive: true, force: true });
});

/** Index, label and first random number of every row, by epoch. */
async function rows(dataset: Dataset<typeof fields>, options: Partial<LoaderOptions>, until = 2): Promise<Row[][]> {
  const loader = dataset.loader({ batchSize: 8, shuffle: { seed: 11 }, remainder: "keep", ...options, decode: decoder, decodeArgs: {} });
  const epochs: Row[][] = [];
  for (const epoch of loader.epochs(until)) {
    const seen: Row[] = [];
    for await (const { indices, columns, size } of epoch)
      for (let row = 0; row < size; row++) seen.push(`${indices[row]!}:${columns.label.data[row]!}:${columns.chance.data[row]!}`);
    epochs.push(seen);
  }
  await loader.close();
  return epochs;
}
const indicesOf = (seen: readonly string[]) => seen.map((row) => Number(row.split(":")[0])).sort((a, b) => a - b);
const ALL = Array.from({ length: SAMPLES }, (_, i) => i);

async function withMill<T>(engine: "inline" | "worker", cache: CacheOptions, act: (mill: Millrace) => Promise<T>): Promise<T> {
  const mill = await openMillrace({ engine, cache });
  try {
    return await act(mill);
  } finally {
    await mill.close();
  }
}

describe("order and randomness are the same", () => {
  let reference: Row[][];
  beforeAll(async () => {
    reference = await withMill("inline", { memory: 0 }, async (mill) => rows(await mill.dataset(plain.uri, { fields }), { workers: 0 }));
    expect(reference.map(indicesOf)).toEqual([ALL, ALL]);
    expect(reference[1]).not.toEqual(reference[0]);
    expect(new Set(reference.flat().map((row) => row.split(":")[2])).size).toBeGreaterThan(SAMPLES);
  });

  test.each([
    ["inline", 1],
    ["inline", 3],
    ["worker", 0],
    ["worker", 2],
    ["worker", 4],
  ] as const)("engine %s, %i decode workers", async (engine, workers) => {
    const seen = await withMill(engine, { memory: "8MiB" }, async (mill) => rows(await mill.dataset(plain.uri, { fields }), { workers }));
    expect(seen).toEqual(reference);
  });

  test("caches empty, full, too small and on disk; whatever is read ahead", async () => {
    const caches: CacheOptions[] = [{ memory: "8MiB" }, { memory: "128KiB" }, { memory: 0, disk: [{ path: folder, capacity: "16MiB" }] }];
    for (const cache of caches)
      await withMill("inline", cache, async (mill) => {
        const dataset = await mill.dataset(plain.uri, { fields });
        for (const readAhead of [0, 10_000, "auto"] as const) expect(await rows(dataset, { workers: 0, readAhead })).toEqual(reference);
      });
  });

  test.each([2, 3, 5, 7])("%i ranks, and a resume with another number of them", async (worldSize) => {
    await withMill("inline", { memory: "8MiB" }, async (mill) => {
      const dataset = await mill.dataset(plain.uri, { fields });
      const all = await Promise.all(Array.from({ length: worldSize }, (_, rank) => rows(dataset, { worldSize, rank, workers: 0 })));
      for (const epoch of [0, 1])
        expect(ALL.map((position) => all[position % worldSize]![epoch]![Math.floor(position / worldSize)])).toEqual(reference[epoch]);
      const loader = dataset.loader({ batchSize: 4, worldSize, rank: 1, shuffle: { seed: 11 }, remainder: "keep" });
      for await (const batch of loader.epoch(0)) if (batch.step === 2) break;
      const resume = loader.state();
      await loader.close();
      expect(resume.position).toBe(12 * worldSize);
      const [rest, next] = await rows(dataset, { resume, workers: 0 });
      expect(rest).toEqual(reference[0]!.slice(12 * worldSize));
      expect(next).toEqual(reference[1]);
    });
  });
});

describe("every sample once", () => {
  const loads: [string, Partial<LoaderOptions>][] = [
    ["window", {}],
    ["global", { shuffle: { seed: 2, mode: "global" } }],
    ["sequential", { shuffle: false }],
    ["one lane", { lanes: 1 }],
    ["more lanes than samples", { lanes: 200 }],
    ["no read-ahead", { readAhead: 0 }],
  ];
  test.each(loads)("%s, plain and compressed, one rank and four, over epochs of one stream", async (_, options) => {
    await withMill("inline", { memory: "256KiB" }, async (mill) => {
      for (const { uri } of [plain, packed]) {
        const dataset = await mill.dataset(uri);
        for (const worldSize of [1, 4]) {
          const parts = await Promise.all(
            Array.from({ length: worldSize }, async (_unused, rank) => {
              const loader = dataset.loader({ batchSize: 7, shuffle: { seed: 2 }, remainder: "keep", rank, worldSize, ...options });
              const seen: number[][] = [];
              for (const epoch of loader.epochs(3)) {
                const indices: number[] = [];
                for await (const batch of epoch) indices.push(...batch.indices);
                seen.push(indices);
              }
              await loader.close();
              return seen;
            }),
          );
          for (const epoch of [0, 1, 2]) expect(parts.flatMap((seen) => seen[epoch]!).sort((a, b) => a - b)).toEqual(ALL);
        }
      }
      await mill.invalidate(plain.uri);
      expect(mill.stats().memory!.workingBytes).toBe(0);
    });
  });

  test("rows of a batch that are all skipped leave an empty batch in its place", async () => {
    await withMill("inline", { memory: "8MiB" }, async (mill) => {
      const dataset = await mill.dataset(plain.uri, { fields });
      const label = plain.made.samples[0]!.label;
      const same = ALL.filter((i) => plain.made.samples[i]!.label === label);
      const view = dataset.select([...same.slice(0, 8), ...ALL.filter((i) => plain.made.samples[i]!.label !== label).slice(0, 8)]);
      for (const workers of [0, 1]) {
        const loader = view.loader({ batchSize: 4, onError: "skip", decode: decoder, decodeArgs: { fail: label }, workers });
        const sizes: number[] = [];
        for await (const batch of loader.epoch(0)) sizes.push(batch.size, batch.columns.label.data.length);
        expect(sizes).toEqual([0, 0, 0, 0, 4, 4, 4, 4]);
        expect(loader.stats()).toMatchObject({ batches: 4, samples: 8, skipped: 8 });
        expect(loader.state()).toMatchObject({ epoch: 1, position: 0 });
        await loader.close();
      }
    });
  });

  test("an epoch without steps left for its rank ends at once, and the next begins at its start", async () => {
    await withMill("inline", { memory: "8MiB" }, async (mill) => {
      const dataset = (await mill.dataset(plain.uri, { fields })).take(33);
      const options = { batchSize: 8, worldSize: 2, remainder: "keep", shuffle: { seed: 1 } } as const;
      const short = dataset.loader({ ...options, rank: 1 });
      const long = dataset.loader({ ...options, rank: 0 });
      expect([short.stepsPerEpoch, long.stepsPerEpoch]).toEqual([2, 3]);
      const states = [];
      for await (const batch of short.epoch(0)) states.push(batch.state);
      expect(short.state()).toMatchObject({ epoch: 1, position: 0 });
      const resumed = dataset.loader({ ...options, rank: 1, resume: states[1] });
      const steps: number[][] = [];
      for (const epoch of resumed.epochs(2)) {
        const seen: number[] = [];
        for await (const batch of epoch) seen.push(batch.step);
        steps.push(seen);
      }
      expect(steps).toEqual([[], [0, 1]]);
      const others = dataset.loader({ ...options, rank: 0, resume: states[1] });
      const sizes: number[] = [];
      for await (const batch of others.epoch(0)) sizes.push(batch.size);
      expect(sizes).toEqual([1]);
      await Promise.all([short, long, resumed, others].map((loader) => loader.close()));
    });
  });

  test("a break in the middle of an epoch, and on with the next over the same loop", async () => {
    await withMill("inline", { memory: "8MiB" }, async (mill) => {
      const loader = (await mill.dataset(plain.uri, { fields })).loader({ batchSize: 10, shuffle: { seed: 1 } });
      const seen: string[] = [];
      for (const epoch of loader.epochs(3))
        for await (const batch of epoch) {
          seen.push(`${batch.epoch}.${batch.step}`);
          if (batch.epoch === 1 && batch.step === 4) break;
        }
      const steps = (epoch: number, count: number) => Array.from({ length: count }, (_, step) => `${epoch}.${step}`);
      expect(seen).toEqual([...steps(0, 15), ...steps(1, 5), ...steps(2, 15)]);
      await loader.close();
    });
  });
});
