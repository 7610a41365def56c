import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HoldRules, ObjectVersion } from "../../../src/blocks/object-version.js";
import type { CacheFill } from "../../../src/cache/cache-fill.js";
import { fileCharge } from "../../../src/cache/disk-layout.js";
import { BlockCache, type BlockCacheOptions } from "../../../src/cache/tier-chain.js";
import { bytesOf, FakeStore, LRU_RULES, PIN } from "./fake-store.js";

const BLOCK = 64 * 1024;
const SIZE = 5 * BLOCK + 777;
const CHARGE = fileCharge(BLOCK, 4096);
let path: string;
const open: BlockCache[] = [];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-fill-"));
});
afterEach(async () => {
  for (const cache of open.splice(0)) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0 });
  }
  await rm(path, { recursive: true, force: true });
});

async function cacheOf(memoryBlocks: number, diskBlocks: number, options: Partial<BlockCacheOptions> = {}): Promise<BlockCache> {
  const disk = diskBlocks === 0 ? [] : [{ path, capacity: diskBlocks * CHARGE, highWatermark: 0.95, lowWatermark: 0.5 }];
  open.push(await BlockCache.open({ memoryBytes: memoryBlocks * BLOCK, disk, blockSize: BLOCK, ...options }));
  return open.at(-1)!;
}

/** Holds the blocks of the object "saved", as its writer does. */
async function fillAll(cache: BlockCache, fill: CacheFill, store: FakeStore): Promise<void> {
  for (let begin = 0; begin < SIZE; begin += BLOCK) {
    const end = Math.min(begin + BLOCK, SIZE);
    const slot = cache.slab.allocate(end - begin);
    slot.bytes.set(bytesOf(store.seed("saved"), begin, end));
    await fill.hold(begin / BLOCK, begin, slot);
    slot.release();
  }
}

async function read(cache: BlockCache, store: FakeStore, rules: HoldRules): Promise<void> {
  const span = await cache.acquire(store.object("saved", SIZE, rules), 0, SIZE, { priority: 0 });
  expect(Buffer.compare(span.view(0, SIZE), bytesOf(store.seed("saved"), 0, SIZE))).toBe(0);
  span.release();
}

describe("CacheFill", () => {
  it.each([
    ["lru", LRU_RULES, 20, 20],
    ["pin, in memory and on disk", PIN, 3, 20],
    ["on disk only", LRU_RULES, 0, 20],
    ["in memory only", PIN, 20, 0],
  ] as const)("what was held while it was written is the object's, once it is whole: %s", async (_, rules, memory, disk) => {
    const [cache, store] = [await cacheOf(memory, disk), new FakeStore()];
    const fill = cache.fill(store, "saved", SIZE, rules);
    await fillAll(cache, fill, store);
    const object = store.object("saved", SIZE, rules);
    expect(cache.cachedBytes(object)).toBe(0);
    const { heldBytes, chargedBytes } = cache.stats().disk;
    await fill.keep(object);
    expect(cache.cachedBytes(object)).toBe(SIZE);
    expect(cache.stats().disk).toMatchObject({ heldBytes, chargedBytes, queuedBytes: 0 });
    await read(cache, store, rules);
    expect(store.requests).toBe(0);
  });

  it("on disk it is the object's for the next process too", async () => {
    const store = new FakeStore();
    const first = await cacheOf(0, 20);
    const fill = first.fill(store, "saved", SIZE, PIN);
    await fillAll(first, fill, store);
    await fill.keep(store.object("saved", SIZE, PIN));
    await first.close();
    const second = await cacheOf(0, 20);
    await read(second, store, PIN);
    expect(store.requests).toBe(0);
    expect(second.stats().disk.checksumMisses).toBe(0);
  });

  it("what was dropped leaves nothing behind", async () => {
    const [cache, store] = [await cacheOf(2, 20), new FakeStore()];
    const fill = cache.fill(store, "saved", SIZE, PIN);
    await fillAll(cache, fill, store);
    await fill.drop();
    await cache.disk!.written();
    expect(cache.stats()).toMatchObject({ memoryHeldBytes: 0, admittedBytes: 0, disk: { heldBytes: 0, chargedBytes: 0 } });
    expect((await readdir(path, { recursive: true })).filter((name) => /-\d+-\d+$/.test(name))).toEqual([]);
  });

  it("holds as much as there is room for, and of the rest the origin is asked", async () => {
    const [cache, store] = [await cacheOf(2, 2), new FakeStore()];
    const fill = cache.fill(store, "saved", SIZE, PIN);
    await fillAll(cache, fill, store);
    const object = store.object("saved", SIZE, PIN);
    await fill.keep(object);
    expect(cache.cachedBytes(object)).toBe(4 * BLOCK);
    await read(cache, store, PIN);
    expect(store.bytes).toBe(SIZE - 4 * BLOCK);
  });

  describe("beside a peer that owns everything", () => {
    const asked: string[] = [];
    const ask = async (object: ObjectVersion, _first: number, count: number) => {
      asked.push(object.uri);
      return new Array<undefined>(count).fill(undefined);
    };
    const sources = () => [{ tier: "peer" as const, groupBytes: 0, elsewhere: () => true, read: ask }];
    beforeEach(() => void asked.splice(0));

    it("what was written here is held here, and read without asking it", async () => {
      const [cache, store] = [await cacheOf(20, 0, { sources }), new FakeStore()];
      const fill = cache.fill(store, "saved", SIZE, PIN);
      await fillAll(cache, fill, store);
      await fill.keep(store.object("saved", SIZE));
      await read(cache, store, PIN);
      expect([asked, store.requests]).toEqual([[], 0]);
    });

    it("an object of this machine is read without asking it, and not held where its share is none", async () => {
      const [cache, store] = [await cacheOf(20, 0, { sources }), new FakeStore()];
      await read(cache, store, { mount: "local", admission: "lru", share: 0, local: true });
      expect(asked).toEqual([]);
      expect(cache.stats().admittedBytes).toBe(0);
      await read(cache, store, PIN);
      expect(asked.length).toBeGreaterThan(0);
    });
  });

  it("blocks that were read from the origin meanwhile stay, and are held once", async () => {
    const [cache, store] = [await cacheOf(20, 20), new FakeStore()];
    const fill = cache.fill(store, "saved", SIZE, LRU_RULES);
    await fillAll(cache, fill, store);
    await read(cache, store, LRU_RULES);
    await fill.keep(store.object("saved", SIZE, LRU_RULES));
    expect(cache.stats()).toMatchObject({ memoryHeldBytes: SIZE, admittedBytes: SIZE, disk: { heldBytes: SIZE } });
    await read(cache, store, LRU_RULES);
  });
});
