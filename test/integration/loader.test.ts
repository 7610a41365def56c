/** The loader as a caller sees it: order, resume, ranks, remainders, ends and errors. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Batch,
  type Dataset,
  type Loader,
  type LoaderOptions,
  type LoaderState,
  type Millrace,
  openMillrace,
} from "../../src/index.js";
import { sha256 } from "../support/datasets/index.js";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";

const fields = { image: "bytes", label: "int32" } as const;
type Columns = typeof fields;
const SAMPLES = 203; // Divides by no batch size or world size used here.

let local: LocalDataset;
let mill: Millrace;
let dataset: Dataset<Columns>;

beforeAll(async () => {
  local = await localDataset({ format: "tfrecord", samples: SAMPLES, shards: 3, bytesPerSample: 2_000 });
  mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" } });
  dataset = await mill.dataset(local.uri, { fields });
});
afterAll(async () => {
  await mill.close();
  await local.remove();
});

const keys = async (loader: Loader<Columns>, until = 1): Promise<string[][]> => {
  const epochs: string[][] = [];
  for (const epoch of loader.epochs(until)) {
    const seen: string[] = [];
    for await (const batch of epoch) seen.push(...batch.keys.slice(0, batch.size));
    epochs.push(seen);
  }
  await loader.close();
  return epochs;
};
const load = (options: Partial<LoaderOptions> = {}) => dataset.loader({ batchSize: 8, shuffle: { seed: 3 }, ...options });

describe("an epoch", () => {
  test("delivers each sample once, with its own bytes", async () => {
    const seen = new Map<string, number>();
    for await (const { columns, size } of load().epoch(0))
      for (let row = 0; row < size; row++) {
        const id = `${sha256(columns.image.at(row))} ${columns.label.data[row]}`;
        seen.set(id, (seen.get(id) ?? 0) + 1);
      }
    expect(seen).toEqual(new Map(local.made.samples.map(({ sha256: hash, label }) => [`${hash} ${label}`, 1])));
  });

  test("is in manifest order without shuffle, and not with it", async () => {
    const [plain] = await keys(load({ shuffle: false }));
    expect(plain).toEqual(Array.from({ length: SAMPLES }, (_, i) => dataset.key(i)));
    const [shuffled] = await keys(load());
    expect(shuffled).not.toEqual(plain);
    expect([...shuffled!].sort()).toEqual([...plain!].sort());
  });

  test("differs from the next, and is the same again for the same seed", async () => {
    const [first, second] = await keys(load(), 2);
    const [again, secondAgain] = await keys(load({ readAhead: 0 }), 2);
    expect(again).toEqual(first);
    expect(secondAgain).toEqual(second);
    expect(second).not.toEqual(first);
  });

  test.each(["window", "global"] as const)("in mode %s is the same for every worldSize", async (mode) => {
    const shuffle = { seed: 9, mode };
    const [alone] = await keys(load({ shuffle, batchSize: 12, remainder: "keep" }));
    for (const worldSize of [2, 3, 5]) {
      const parts = await Promise.all(
        Array.from({ length: worldSize }, (_, rank) => keys(load({ shuffle, batchSize: 4, worldSize, rank, remainder: "keep" }))),
      );
      const merged = Array.from({ length: SAMPLES }, (_, position) => parts[position % worldSize]![0]![Math.floor(position / worldSize)]);
      expect(merged).toEqual(alone);
    }
  });
});

describe("remainders", () => {
  const sizes = async (options: Partial<LoaderOptions>) => {
    const result: [number, number, number][] = [];
    const loader = load(options);
    for await (const batch of loader.epoch(0)) result.push([batch.size, batch.padding, batch.columns.label.data.length]);
    await loader.close();
    expect(result.length).toBe(loader.stepsPerEpoch);
    return result;
  };

  test("keep: a short last batch", async () => {
    expect((await sizes({ batchSize: 100, remainder: "keep" })).map(([size]) => size)).toEqual([100, 100, 3]);
  });
  test("drop: equal steps", async () => {
    for (const rank of [0, 1, 2]) expect((await sizes({ batchSize: 30, worldSize: 3, rank })).map(([size]) => size)).toEqual([30, 30]);
  });
  test("pad: equal steps whose last rows repeat samples and do not count", async () => {
    const all = await Promise.all([0, 1, 2].map((rank) => sizes({ batchSize: 30, worldSize: 3, rank, remainder: "pad" })));
    expect(all.map((rank) => rank.at(-1))).toEqual([
      [8, 22, 30],
      [8, 22, 30],
      [7, 23, 30],
    ]);
  });
  test("fewer samples than a step is refused where it would be dropped", () => {
    expect(() => load({ batchSize: 300, remainder: "drop" })).toThrow(/batchSize: 203 samples make no whole step/);
  });
  test("stepsPerEpoch cuts the epoch", async () => {
    expect((await sizes({ stepsPerEpoch: 3 })).length).toBe(3);
    expect(() => load({ stepsPerEpoch: 1000 })).toThrow(/stepsPerEpoch/);
  });
});

describe("resume", () => {
  const steps = async (loader: Loader<Columns>, until: number) => {
    const all: { keys: string[]; state: LoaderState }[] = [];
    for (const epoch of loader.epochs(until)) for await (const batch of epoch) all.push({ keys: [...batch.keys], state: batch.state });
    await loader.close();
    return all;
  };

  test("at every step, across the epoch's boundary, equals a run without interruption", async () => {
    const options = { batchSize: 32 };
    const whole = await steps(load(options), 2);
    expect(whole.length).toBe(14);
    for (let stop = 0; stop < whole.length - 1; stop++) {
      const resumed = await steps(load({ ...options, resume: JSON.parse(JSON.stringify(whole[stop]!.state)) }), 2);
      expect(resumed.map(({ keys: k }) => k)).toEqual(whole.slice(stop + 1).map(({ keys: k }) => k));
    }
  });

  test("from 4 ranks to 2 goes on in the global order", async () => {
    const global = (await keys(load({ shuffle: { seed: 3 }, remainder: "keep" })))[0]!;
    const first = await Promise.all([0, 1, 2, 3].map((rank) => steps(load({ batchSize: 5, worldSize: 4, rank, remainder: "keep" }), 1)));
    const state = first[2]![3]!.state;
    expect(state.position).toBe(80);
    const rest = await Promise.all(
      [0, 1].map((rank) => keys(load({ batchSize: 7, worldSize: 2, rank, remainder: "keep", resume: state }))),
    );
    const merged = Array.from({ length: SAMPLES - 80 }, (_, i) => rest[i % 2]![0]![Math.floor(i / 2)]);
    expect(merged).toEqual(global.slice(80));
  });

  test("a state of another dataset, order or epoch is refused", async () => {
    const state = (await steps(load(), 1))[2]!.state;
    expect(() => load({ resume: { ...state, fingerprint: "0".repeat(64) } })).toThrow(/another dataset/);
    expect(() => load({ resume: state, shuffle: { seed: 4 } })).toThrow(/another order/);
    expect(() => load({ resume: { ...state, position: 10_000 } })).toThrow(/beyond/);
    expect(() => load({ resume: { ...state, version: 2 as 1 } })).toThrow(/resume.version/);
    expect(() => load({ resume: state }).epoch(5)).toThrow(/epoch 0/);
  });

  test("position and state say what the loop has received", async () => {
    const loader = load();
    expect(loader.position).toEqual({ epoch: 0, step: 0 });
    for await (const batch of loader.epoch(0)) {
      expect(loader.state()).toEqual(batch.state);
      if (batch.step === 4) break;
    }
    expect(loader.position).toEqual({ epoch: 0, step: 5 });
    const next: number[] = [];
    for (const epoch of loader.epochs(1)) for await (const batch of epoch) next.push(batch.step);
    expect(next[0]).toBe(5);
    await loader.close();
  });
});

describe("the end of a loop", () => {
  test("break, throw and abort leave the loader usable and hold no memory", async () => {
    const loader = load();
    for await (const _ of loader.epoch(0)) break;
    await expect(
      (async () => {
        for await (const _ of loader.epoch(0)) throw new Error("mine");
      })(),
    ).rejects.toThrow("mine");
    const abort = new AbortController();
    await expect(
      (async () => {
        for await (const _ of loader.epoch(0, { signal: abort.signal })) abort.abort(new Error("enough"));
      })(),
    ).rejects.toMatchObject({ code: "MILLRACE_ABORTED", cause: { message: "enough" } });
    let count = 0;
    for await (const batch of loader.epoch(0)) count += batch.size;
    expect(count).toBe(SAMPLES);
    await loader.close();
  });

  test("a new iteration ends the old one", async () => {
    const loader = load();
    const old = loader.epoch(0)[Symbol.asyncIterator]();
    await old.next();
    for await (const _ of loader.epoch(1)) break;
    await expect(old.next()).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await loader.close();
    await expect(loader.epoch(0)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });
});

describe("views", () => {
  test("get, key, take, select and iteration agree", async () => {
    const third = await dataset.get(3);
    expect(sha256(third.image)).toBe(local.made.samples[3]!.sha256);
    const view = dataset.select({ from: 2, to: 10 }).take(4);
    expect(view.sampleCount).toBe(4);
    expect(view.key(1)).toBe(dataset.key(3));
    const hashes: string[] = [];
    for await (const sample of view) hashes.push(sha256(sample.image));
    expect(hashes).toEqual(local.made.samples.slice(2, 6).map(({ sha256: hash }) => hash));
    const picked = dataset.select([7, 1, 7]);
    expect([0, 1, 2].map((row) => picked.key(row))).toEqual([7, 1, 7].map((row) => dataset.key(row)));
    const twice: string[] = [];
    for await (const sample of picked) twice.push(sha256(sample.image));
    expect(twice).toEqual([7, 1, 7].map((row) => local.made.samples[row]!.sha256));
    await expect(dataset.get(SAMPLES)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  test("split parts are disjoint, complete and load by themselves", async () => {
    const { train, val } = dataset.split({ train: 0.8, val: 0.2 }, { seed: 1 });
    expect(train.sampleCount + val.sampleCount).toBe(SAMPLES);
    const both = (await Promise.all([train, val].map((part) => keys(part.loader({ batchSize: 10, shuffle: { seed: 2 } }))))).flat(2);
    expect(both.sort()).toEqual(Array.from({ length: SAMPLES }, (_, i) => dataset.key(i)).sort());
    expect(train.fingerprint).not.toBe(val.fingerprint);
  });
});

test("recycle hands the memory of released batches out again, with the right bytes", async () => {
  const loader = load({ recycle: true, remainder: "drop" });
  const buffers = new Set<ArrayBufferLike>();
  const labels: number[] = [];
  for await (const batch of loader.epoch(0) as AsyncIterable<Batch<Columns>>) {
    buffers.add(batch.columns.label.data.buffer);
    labels.push(...batch.columns.label.data);
    batch.release();
    batch.release();
  }
  expect(labels.length).toBe(200);
  const plain: number[] = [];
  for await (const batch of load({ remainder: "drop" }).epoch(0)) plain.push(...batch.columns.label.data);
  expect(labels).toEqual(plain);
  await loader.close();
});
