/** What a run asks of the origin before its first batch, and an open of a dataset that was open before. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Dataset, type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { randomBytes, tfrecordShard } from "../support/datasets/index.js";
import { type Gate, gate } from "./fixtures/loader-gate.js";

const [SHARDS, SAMPLES, SAMPLE_BYTES] = [4, 160, 20_000];
/** With the header and footer of a record. */
const RECORD_BYTES = SAMPLE_BYTES + 16;
const BLOCK = 64 * 1024;
/** Two lanes: chunks of 20 samples, 400 KB. */
const ORDER = { batchSize: 16, lanes: 2, shuffle: { seed: 3 } };
const shards = Array.from({ length: SHARDS }, (_, shard) =>
  tfrecordShard(Array.from({ length: SAMPLES }, (_, i) => randomBytes(SAMPLE_BYTES, shard * SAMPLES + i))),
);

const mills: Millrace[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

let gates = 0;
function origin(): { readonly store: Gate; readonly uri: string } {
  const name = `first-${gates++}`;
  const store = gate(name);
  for (const [i, { bytes, index }] of shards.entries()) {
    store.objects.set(`set/${i}.tfrecord`, bytes);
    store.objects.set(`set/${i}.idx`, Buffer.from(index));
  }
  return { store, uri: `gate://${name}/set` };
}
async function open(cache: MillraceOptions["cache"] = { memory: "64MiB", blockSize: BLOCK }): Promise<Millrace> {
  const stores = { gate: { url: new URL("./fixtures/loader-gate.ts", import.meta.url) } };
  const mill = await openMillrace({ engine: "inline", stores, cache });
  mills.push(mill);
  return mill;
}

const blocksOfReads = (reads: readonly string[]): string[] =>
  reads.flatMap((read) => {
    const [, path, begin, end] = /^(\S+) (\d+)-(\d+)$/.exec(read)!;
    const first = Math.floor(Number(begin) / BLOCK);
    return Array.from({ length: Math.ceil(Number(end) / BLOCK) - first }, (_, i) => `${path} ${first + i}`);
  });
const blocksOfSamples = (samples: Iterable<number>): Set<string> => {
  const blocks = new Set<string>();
  for (const sample of samples) {
    const begin = (sample % SAMPLES) * RECORD_BYTES;
    for (let block = Math.floor(begin / BLOCK); block * BLOCK < begin + RECORD_BYTES; block++)
      blocks.add(`set/${Math.floor(sample / SAMPLES)}.tfrecord ${block}`);
  }
  return blocks;
};

/** Between two that are needed and at most 128 KiB apart, as of one chunk: cheaper to read than to ask around. */
function isGap(block: string, needed: ReadonlySet<string>): boolean {
  const [path, number] = block.split(" ");
  const has = (by: number): boolean => needed.has(`${path} ${Number(number) + by}`);
  return [-2, -1].some(has) && [1, 2].some(has);
}

async function firstIndices(dataset: Dataset<{ record: "bytes" }>): Promise<Float64Array> {
  const loader = dataset.loader(ORDER);
  for await (const batch of loader.epoch(0)) return batch.indices;
  throw new Error("no batch");
}
const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe("a run's first batch", () => {
  /** A loop that waits for its first batch, and the blocks of that. */
  async function waiting() {
    const { store, uri } = origin();
    const fields = { record: "bytes" } as const;
    const needed = blocksOfSamples(await firstIndices(await (await open()).dataset(uri, { fields })));
    const dataset = await (await open()).dataset(uri, { fields });
    store.reads.length = 0;
    store.hold();
    const loader = dataset.loader(ORDER);
    const seen: number[] = [];
    const loop = (async () => {
      for await (const batch of loader.epoch(0)) seen.push(...batch.indices);
    })();
    loop.catch(() => {});
    return { store, needed, loop, seen };
  }

  test("asks for the blocks of its own samples, and the epoch for each block once", async () => {
    const { store, needed, loop, seen } = await waiting();
    while (blocksOfReads(store.reads).length < needed.size) await turns();
    await turns();
    const asked = blocksOfReads(store.reads);
    expect(asked.filter((block) => !needed.has(block) && !isGap(block, needed))).toEqual([]);
    expect(store.waiting).toBe(store.reads.length);
    store.open();
    await loop;
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: SHARDS * SAMPLES }, (_, i) => i));
    const all = blocksOfReads(store.reads);
    expect(new Set(all).size).toBe(all.length);
  });

  test("is most of the way here when read-ahead begins", async () => {
    const { store, needed, loop } = await waiting();
    while (blocksOfReads(store.reads).length < needed.size) await turns();
    const first = store.reads.length;
    let passed = 0;
    while (store.reads.length === first) {
      store.letThrough(1);
      passed++;
      await turns();
    }
    expect(passed).toBeGreaterThanOrEqual(first / 2);
    expect(passed).toBeLessThan(first);
    store.open();
    await loop;
  });
});

describe("a dataset that was open before", () => {
  const fields = { record: "bytes" } as const;

  test.each([fields, undefined])("is opened without a read, fields %o", async (declared) => {
    const { store, uri } = origin();
    const path = await mkdtemp(join(tmpdir(), "millrace-first-"));
    folders.push(path);
    const cache = { memory: 0, blockSize: BLOCK, disk: [{ path, capacity: "1MiB" }] };
    const options = declared === undefined ? {} : { fields: declared };
    const first = await open(cache);
    const before = await first.dataset(uri, options);
    const reads = store.reads.length;
    expect((await first.dataset(uri, options)).fields).toEqual(before.fields);
    await first.evict(uri);
    await first.close();
    const again = await (await open(cache)).dataset(uri, options);
    expect(again.fields).toEqual(fields);
    expect(store.reads.length).toBe(reads);
    expect(reads).toBeGreaterThan(SHARDS);
  });

  test("has its first record read again for other fields, and for another version of its object", async () => {
    const { store, uri } = origin();
    const mill = await open({ memory: 0, blockSize: BLOCK });
    await mill.dataset(uri, { fields });
    const reads = store.reads.length;
    await expect(mill.dataset(uri, { fields: { image: "bytes" } })).rejects.toMatchObject({ code: "MILLRACE_FORMAT" });
    expect(store.reads.length).toBe(reads + 1);
    // What was refused is not kept.
    await expect(mill.dataset(uri, { fields: { image: "bytes" } })).rejects.toMatchObject({ code: "MILLRACE_FORMAT" });
    expect(store.reads.length).toBe(reads + 2);
    store.versions.set("set/0.tfrecord", 2);
    await mill.invalidate(uri);
    await mill.dataset(uri, { fields });
    // Its index, and its first record.
    expect(store.reads.slice(reads + 2).map((read) => read.split(" ")[0])).toContain("set/0.tfrecord");
  });
});
