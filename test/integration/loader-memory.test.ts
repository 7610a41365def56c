/** What a run holds and reads ahead: bounded by windows, depth and batches, however slow the loop is. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Dataset, type Loader, type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { type DatasetOptions, type MadeDataset, makeDataset } from "../support/datasets/index.js";
import { type Gate, gate } from "./fixtures/loader-gate.js";

const fields = { image: "bytes", label: "int32" } as const;
type Columns = typeof fields;
const MIB = 2 ** 20;
/** Read by everyone who waits: the fetches that a loop's credit starts are over. */
const QUIET_TURNS = 20;

const mills: Millrace[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
});

let gates = 0;
async function gated<F extends Record<string, "bytes" | "int32"> = Columns>(
  made: Pick<MadeDataset, "objects">,
  options: MillraceOptions = {},
  wanted: F = fields as never,
): Promise<{ origin: Gate; mill: Millrace; dataset: Dataset<F> }> {
  const name = `memory-${gates++}`;
  const origin = gate(name);
  for (const [key, bytes] of made.objects) origin.objects.set(`set/${key}`, bytes);
  const url = new URL("./fixtures/loader-gate.ts", import.meta.url);
  const mill = await openMillrace({ engine: "inline", stores: { gate: { url } }, cache: { memory: 0 }, ...options });
  mills.push(mill);
  const dataset = await mill.dataset(`gate://${name}/set`, { fields: wanted });
  origin.reads.length = 0;
  return { origin, mill, dataset: dataset as never };
}
/** Now: the figures are brought up to date by every call. The peak would count the indexing, too. */
async function working(mill: Millrace): Promise<number> {
  await mill.invalidate("memory://nothing/here");
  return mill.stats().memory!.workingBytes as number;
}
/** Until no more is read for a while, though the loop asks for nothing. */
async function quiet(origin: Gate): Promise<void> {
  for (let turns = 0, last = -1; turns < QUIET_TURNS; turns++) {
    if (origin.reads.length !== last) turns = 0;
    last = origin.reads.length;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const set = (options: Partial<DatasetOptions>) =>
  makeDataset({ format: "tfrecord", samples: 400, shards: 4, bytesPerSample: 50_000, ...options });
async function oneBatch<F>(loader: Loader<F>): Promise<void> {
  for await (const _ of loader.epoch(0)) break;
}
const readBytes = (origin: Gate): number =>
  origin.reads.reduce(
    (sum, read) =>
      sum +
      read
        .split(" ")[1]!
        .split("-")
        .reduce((begin, end) => Number(end) - begin, 0 as never as number),
    0,
  );

describe("a loop that stops taking batches", () => {
  test("stops the fetching: windows, depth and the batches on their way are all that is held", async () => {
    const made = set({});
    const { origin, mill, dataset } = await gated(made);
    const depth = 2 * MIB;
    const loader = dataset.loader({ batchSize: 8, shuffle: { seed: 1, window: "4MiB" }, readAhead: depth });
    const iterator = loader.epoch(0)[Symbol.asyncIterator]();
    await iterator.next();
    await quiet(origin);
    const batches = 8 * 75_000 * 10; // eight ahead, one in use, one in the making
    expect(await working(mill)).toBeLessThanOrEqual(4 * MIB + depth + MIB);
    expect(readBytes(origin)).toBeLessThanOrEqual(4 * MIB + depth + batches + MIB);
    expect(readBytes(origin)).toBeLessThan(made.byteLength / 1.5);
    let rows = 8;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      rows += next.value.size;
      expect(await working(mill)).toBeLessThanOrEqual(4 * MIB + depth + MIB);
    }
    expect(rows).toBe(400);
    await loader.close();
    expect(mill.stats().memory!.workingBytes).toBe(0);
  });

  test("small samples read one by one count with the memory that they take", async () => {
    const { origin, mill, dataset } = await gated(set({ samples: 6_000, bytesPerSample: 100, shards: 1 }));
    const depth = 4 * MIB;
    const loader = dataset.loader({ batchSize: 8, shuffle: { seed: 1, mode: "global" }, readAhead: depth });
    const iterator = loader.epoch(0)[Symbol.asyncIterator]();
    await iterator.next();
    await quiet(origin);
    expect(await working(mill)).toBeLessThanOrEqual(depth + 2 * MIB);
    await loader.close();
  });

  test("samples read from whole blocks of a disk count with these blocks", async () => {
    const path = await mkdtemp(join(tmpdir(), "millrace-test-"));
    folders.push(path);
    const { origin, mill, dataset } = await gated(set({ samples: 300 }), { cache: { memory: 0, disk: [{ path, capacity: "64MiB" }] } });
    const depth = 4 * MIB;
    for (const epoch of [0, 1]) {
      const loader = dataset.loader({ batchSize: 4, shuffle: { seed: 1, mode: "global", window: "256KiB" }, readAhead: depth });
      const iterator = loader.epoch(epoch)[Symbol.asyncIterator]();
      await iterator.next();
      await quiet(origin);
      expect(await working(mill)).toBeLessThanOrEqual(depth + 4 * 2 * MIB); // and of one batch, each in up to two blocks
      await loader.close();
    }
  });
});

describe("reading ahead", () => {
  test("goes no further than the next epoch", async () => {
    const { origin, mill, dataset } = await gated(set({ samples: 30, bytesPerSample: 1_000, shards: 1 }));
    origin.hold();
    const loader = dataset.loader({ batchSize: 2, shuffle: { seed: 1 } });
    const [epoch] = loader.epochs(1_000);
    const iterator = epoch![Symbol.asyncIterator]();
    const first = iterator.next();
    await quiet(origin);
    await working(mill);
    const { joined } = mill.stats().cache!; // All epochs want the same bytes: who comes later joins the first.
    expect(joined).toBeGreaterThan(0);
    expect(joined).toBeLessThan(2 * 30);
    origin.open();
    await first;
    await loader.close();
  });

  test("ends, also where samples have no bytes", async () => {
    const { dataset } = await gated({ objects: new Map([0, 1, 2].map((i) => [`a/${i}.bin`, new Uint8Array(0)])) }, {}, { bytes: "bytes" });
    const loader = dataset.loader({ batchSize: 1 });
    let steps = 0;
    for (const epoch of loader.epochs(Number.POSITIVE_INFINITY)) {
      for await (const _ of epoch) steps++;
      if (epoch.number === 2) break;
    }
    expect(steps).toBe(9);
    await loader.close();
  });

  test("begins with the next epoch before this one ends, and each epoch is fetched once", async () => {
    const made = set({ samples: 60, bytesPerSample: 10_000 });
    const { origin, mill, dataset } = await gated(made);
    const loader = dataset.loader({ batchSize: 6, shuffle: { seed: 1 }, readAhead: 100_000 });
    const fetched: number[] = [];
    for (const epoch of loader.epochs(3)) {
      for await (const _ of epoch);
      await quiet(origin);
      // Before anyone has asked for it.
      if (epoch.number === 0) expect(await working(mill)).toBeGreaterThan(0);
      const { bytes } = loader.stats();
      fetched.push(bytes.origin / made.byteLength);
    }

    expect(fetched[2]).toBeLessThanOrEqual(3.01);
    await loader.close();
  });
});

describe("compressed shards", () => {
  const made = set({ samples: 12, bytesPerSample: 2_000, shards: 2, gzip: true });
  const size = Math.max(...[...made.objects.values()].map(({ length }) => length));

  test("padding rows share the shards that they repeat", async () => {
    const { origin, dataset } = await gated(made);
    const loader = dataset.loader({ batchSize: 64, shuffle: { seed: 1 }, lanes: 1, remainder: "pad" });
    const seen: [number, number][] = [];
    const keys = new Map<string, string>();
    for await (const batch of loader.epoch(0)) {
      seen.push([batch.size, batch.padding]);
      for (const [row, key] of batch.keys.entries()) {
        const bytes = Buffer.from(batch.columns.image.at(row)).toString("base64");
        expect(keys.get(key) ?? bytes).toBe(bytes);
        keys.set(key, bytes);
      }
    }
    expect(seen).toEqual([[12, 52]]);
    expect(keys.size).toBe(12);
    expect(loader.stats().bytes.origin + loader.stats().bytes.memory).toBeLessThanOrEqual(4 * size);
    expect(origin.reads.length).toBeLessThanOrEqual(4);
    await loader.close();
  });

  test("rows in any order, some of them twice, read each shard once a chunk", async () => {
    const { origin, dataset } = await gated(made);
    const rows = [11, 0, 5, 3, 3, 9, 7, 1, 10, 2, 8, 4, 6];
    const loader = dataset.select(rows).loader({ batchSize: 13 });
    for await (const batch of loader.epoch(0)) expect(batch.keys).toEqual(rows.map((row) => dataset.key(row)));
    expect(loader.stats().bytes.origin).toBeLessThanOrEqual(2 * size);
    expect(origin.reads.length).toBe(2);
    await loader.close();
  });
});

test("rows in any order of plain shards are the right ones, each read once", async () => {
  const made = set({ samples: 20, bytesPerSample: 2_000, shards: 2 });
  const { origin, dataset } = await gated(made);
  const rows = [19, 0, 5, 3, 3, 9, 7, 1];
  const loader = dataset.select(rows).loader({ batchSize: 8 });
  for await (const batch of loader.epoch(0)) {
    expect(batch.keys).toEqual(rows.map((row) => dataset.key(row)));
    expect([...batch.columns.label.data]).toEqual(rows.map((row) => made.samples[row]!.label));
  }
  expect(origin.reads.length).toBe(2);
  await oneBatch(loader);
  await loader.close();
});
