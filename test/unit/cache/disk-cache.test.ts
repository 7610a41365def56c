import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { blockPath, fileCharge } from "../../../src/cache/disk-layout.js";
import type { DiskDirectoryOptions } from "../../../src/cache/disk-tier.js";
import type { SlotSource } from "../../../src/cache/slot-source.js";
import { BlockCache, type BlockCacheOptions } from "../../../src/cache/tier-chain.js";
import { bytesOf, FakeStore, LRU_RULES } from "./fake-store.js";

const BLOCK = 64 * 1024;
const CHARGE = fileCharge(BLOCK, 4096);
const demand = { priority: 0 };
let path: string;
let open: BlockCache[] = [];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-disk-"));
});

afterEach(async () => {
  for (const cache of open) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0 });
  }
  open = [];
  await rm(path, { recursive: true, force: true });
});

function directory(blocks: number, name = ""): DiskDirectoryOptions {
  return { path: join(path, name), capacity: blocks * CHARGE, highWatermark: 0.95, lowWatermark: 0.5 };
}

async function cacheOf(memoryBlocks: number, disk: DiskDirectoryOptions[], options: Partial<BlockCacheOptions> = {}): Promise<BlockCache> {
  const cache = await BlockCache.open({ memoryBytes: memoryBlocks * BLOCK, disk, blockSize: BLOCK, ...options });
  open.push(cache);
  return cache;
}

async function read(cache: BlockCache, object: ObjectVersion, begin = 0, end: number = object.size): Promise<void> {
  const span = await cache.acquire(object, begin, end, demand);
  try {
    expect(Buffer.compare(span.view(begin, end), bytesOf((object.store as FakeStore).seed(object.stored.path), begin, end))).toBe(0);
  } finally {
    span.release();
  }
}

async function blockFiles(): Promise<string[]> {
  const names = await readdir(path, { recursive: true });
  return names.filter((name) => /[0-9a-f]{32}-\d+-\d+$/.test(name)).sort();
}

async function written(cache: BlockCache): Promise<void> {
  while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("BlockCache with disks", () => {
  it("fills memory first, then the disk, holds no block twice, and the second epoch asks nothing of the origin", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(3, [directory(10)]);
    const object = store.object("a", 8 * BLOCK);
    cache.refer(object);
    await read(cache, object);
    expect(store.ranges).toHaveLength(1);
    await written(cache);
    expect(await blockFiles()).toHaveLength(5);
    await read(cache, object);
    expect(store.bytes).toBe(object.size);
    expect(cache.stats()).toMatchObject({ memoryHeldBytes: 3 * BLOCK, admittedBytes: object.size, diskHits: 5, memoryHits: 3, misses: 8 });
    expect(cache.stats().disk).toMatchObject({ heldBytes: 5 * BLOCK, writes: 5, chargedBytes: 5 * CHARGE });
    expect(cache.cachedBytes(object)).toBe(object.size);
  });

  it("serves a block that is still on its way to disk", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0, [directory(10)]);
    const object = store.object("a", 2 * BLOCK);
    await read(cache, object);
    await read(cache, object);
    expect(store.requests).toBe(1);
  });

  it("finds after a restart what was written before, whether the scan has ended or not", async () => {
    const store = new FakeStore();
    const object = store.object("a", 5 * BLOCK + 17);
    const first = await cacheOf(0, [directory(10)]);
    await read(first, object);
    await first.close();
    const second = await cacheOf(0, [directory(10)]);
    await read(second, object);
    await second.close();
    const third = await cacheOf(0, [directory(10)]);
    await third.disk!.scanned();
    expect(third.stats().disk).toMatchObject({ heldBytes: object.size, scans: 1, chargedBytes: 5 * CHARGE + fileCharge(17, 4096) });
    expect(third.cachedBytes(object)).toBe(object.size);
    await read(third, object);
    expect(store.requests).toBe(1);
  });

  it("stays within the capacity, overhead included, and uses nine tenths of it", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0, [directory(40)]);
    const objects = Array.from({ length: 60 }, (_, i) => store.object(`o${i}`, BLOCK - i));
    for (const object of objects) cache.refer(object);
    for (const object of objects) await read(cache, object);
    await written(cache);
    const { admittedBytes, disk } = cache.stats();
    expect(admittedBytes).toBeGreaterThanOrEqual(0.9 * disk.capacityBytes);
    let used = 0;
    for (const name of await blockFiles()) used += (await stat(join(path, name))).blocks * 512;
    expect(used).toBeLessThanOrEqual(disk.capacityBytes);
    const before = store.bytes;
    for (const object of objects) await read(cache, object);
    const total = objects.reduce((sum, object) => sum + object.size, 0);
    expect(store.bytes - before).toBe(total - admittedBytes);
  });

  it("lru: evicts from the high watermark down to the low one, oldest first", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0, [directory(20)]);
    const files = Array.from({ length: 20 }, (_, i) => store.object(`f${i}`, BLOCK, LRU_RULES));
    for (const file of files.slice(0, 19)) await read(cache, file);
    await read(cache, files[0]!);
    expect(store.requests).toBe(19);
    await written(cache);
    await read(cache, files[19]!);
    await written(cache);
    // 19 of 20 are the high mark; from 19 down to 10 nine go, the oldest that were not used since.
    expect(files.map((file) => cache.cachedBytes(file) / BLOCK)).toEqual([1, ...Array(9).fill(0), ...Array(10).fill(1)]);
    expect(await blockFiles()).toHaveLength(11);
    expect(cache.stats().disk).toMatchObject({ evictions: 9, heldBytes: 11 * BLOCK });
  });

  it("lru: goes to memory and disk, and comes back to memory from disk", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(1, [directory(10)]);
    const [a, b] = [store.object("a", BLOCK, LRU_RULES), store.object("b", BLOCK, LRU_RULES)];
    await read(cache, a);
    await read(cache, b);
    await read(cache, a);
    await read(cache, a);
    expect(store.requests).toBe(2);
    expect(cache.stats()).toMatchObject({ diskHits: 1, memoryHits: 1, memoryEvictions: 2, admittedBytes: 2 * BLOCK });
    expect(cache.cachedBytes(a)).toBe(BLOCK);
  });

  it("gives the room of an earlier process's data to a dataset in use, oldest first", async () => {
    const store = new FakeStore();
    const first = await cacheOf(0, [directory(6)]);
    const old = store.object("old", 6 * BLOCK);
    first.refer(old);
    await read(first, old);
    await first.close();
    const second = await cacheOf(0, [directory(6)]);
    await second.disk!.scanned();
    const now = store.object("now", 4 * BLOCK);
    second.refer(now);
    await read(second, now);
    await written(second);
    expect(second.cachedBytes(now)).toBe(4 * BLOCK);
    expect(second.cachedBytes(old)).toBe(2 * BLOCK);
    expect(await blockFiles()).toHaveLength(6);
  });

  it("spreads blocks over directories by the room they have", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0, [directory(4, "small"), directory(20, "large")]);
    const object = store.object("a", 24 * BLOCK);
    cache.refer(object);
    for (let i = 0; i < 24; i++) await read(cache, object, i * BLOCK, (i + 1) * BLOCK);
    await written(cache);
    const files = await blockFiles();
    expect(files.filter((name) => name.startsWith("small"))).toHaveLength(4);
    expect(files.filter((name) => name.startsWith("large"))).toHaveLength(20);
    await read(cache, object);
    expect(store.bytes).toBe(object.size);
  });

  it("makes those who bring more wait while the queue to the disk is full, and loses no admission", async () => {
    const size = 8 << 20;
    class Zeros extends FakeStore {
      override async readInto(): Promise<void> {
        this.requests++;
      }
    }
    const store = new Zeros();
    const disk = [{ path, capacity: 200 << 20, highWatermark: 0.95, lowWatermark: 0.85 }];
    const cache = await cacheOf(0, disk, { blockSize: size });
    const object = store.object("a", 12 * size);
    cache.refer(object);
    let most = 0;
    const blocks = Array.from({ length: 12 }, async (_, i) => {
      (await cache.acquire(object, i * size, (i + 1) * size, demand)).release();
      most = Math.max(most, cache.stats().disk.queuedBytes);
    });
    await Promise.all(blocks);
    expect(most).toBeLessThanOrEqual(64 << 20);
    await written(cache);
    expect(cache.cachedBytes(object)).toBe(12 * size);
  });

  it("leaves no trace of itself where one of several directories cannot be used", async () => {
    await writeFile(join(path, "file"), "");
    await expect(cacheOf(0, [directory(4, "good"), directory(4, "file")])).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("cache.disk[1].path"),
    });
    expect(await readdir(join(path, "good", "millrace-v1", "procs"))).toEqual([]);
  });

  it("a guest takes what an earlier process left, but nothing that was used since", async () => {
    const store = new FakeStore();
    const first = await cacheOf(0, [directory(4)]);
    await read(first, store.object("old", 4 * BLOCK));
    await first.close();
    const second = await cacheOf(0, [directory(4)]);
    await second.disk!.scanned();
    const [one, two] = [store.object("one", 3 * BLOCK), store.object("two", 3 * BLOCK)];
    await read(second, one);
    await read(second, two);
    await written(second);
    expect([second.cachedBytes(one), second.cachedBytes(two)]).toEqual([3 * BLOCK, BLOCK]);
  });

  it("lets go of what an earlier process left of another node's, once it is used and its own data needs the room", async () => {
    const store = new FakeStore();
    const [theirs, ours] = [store.object("theirs", 4 * BLOCK), store.object("ours", 4 * BLOCK)];
    const first = await cacheOf(0, [directory(5)]);
    first.refer(theirs);
    await read(first, theirs);
    await first.close();
    const peer: SlotSource = {
      tier: "peer",
      groupBytes: 0,
      elsewhere: ({ id }) => id === theirs.id,
      read: async (_object, _firstBlock, count) => new Array<undefined>(count).fill(undefined),
    };
    const second = await cacheOf(0, [directory(5)], { sources: () => [peer] });
    await second.disk!.scanned();
    for (const object of [theirs, ours]) second.refer(object);
    const held = () => [theirs, ours].map((object) => second.cachedBytes(object));
    // Whose it is does not show yet.
    expect(held()).toEqual([4 * BLOCK, 0]);
    await read(second, ours, 0, BLOCK);
    expect(held()[0]).toBe(4 * BLOCK);
    await read(second, theirs);
    expect(store.bytes).toBe(theirs.size + BLOCK);
    await read(second, ours);
    await written(second);
    expect(held()[1]).toBe(4 * BLOCK);
    expect(held()[0]).toBeLessThanOrEqual(BLOCK);
  });

  it("evict removes files and gives the room back", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(1, [directory(10)]);
    const object = store.object("a", 4 * BLOCK);
    await read(cache, object);
    expect(await cache.evict([object.id])).toBe(4 * BLOCK);
    await written(cache);
    await cache.close();
    expect(await blockFiles()).toEqual([]);
    expect(cache.stats().disk).toMatchObject({ chargedBytes: 0, heldBytes: 0 });
    expect(JSON.parse(await readFile(join(path, "millrace-v1/ledger.json"), "utf8"))).toEqual({ used: 0, grants: {} });
  });

  it("keeps blocks of another block size apart and lets them go when room is needed", async () => {
    const store = new FakeStore();
    const object = store.object("a", 4 * BLOCK);
    const first = await cacheOf(0, [directory(6)]);
    await read(first, object);
    await first.close();
    const second = await cacheOf(0, [directory(6)], { blockSize: 2 * BLOCK });
    await second.disk!.scanned();
    expect(second.cachedBytes(object)).toBe(0);
    second.refer(object);
    await read(second, object);
    await written(second);
    expect(second.cachedBytes(object)).toBe(4 * BLOCK);
    expect(store.requests).toBe(2);
    expect(await blockFiles()).toContain(join("millrace-v1", blockPath(object.id, 0, 2 * BLOCK)));
  });

  it("leaves nothing behind but the cache", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0, [directory(10)]);
    await read(cache, store.object("a", 3 * BLOCK));
    await cache.close();
    const files = (await readdir(join(path, "millrace-v1"), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    expect(files.map((file) => file.name).filter((name) => !name.includes("-"))).toEqual(["ledger.json"]);
    expect(files).toHaveLength(4);
  });
});
