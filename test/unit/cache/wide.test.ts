/** Wide demands: what lies around a piece is brought by the same request, where it finds room in memory. */
import { afterEach, expect, test } from "vitest";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { MillraceError } from "../../../src/errors.js";
import { bytesOf, FakeStore, LRU_RULES } from "./fake-store.js";

const BLOCK = 2 ** 20;
/** What is asked for at once: 8 blocks. */
const GROUP = 8 * BLOCK;
const open: BlockCache[] = [];

async function cacheOf(blocks: number): Promise<BlockCache> {
  const cache = await BlockCache.open({ memoryBytes: blocks * BLOCK, disk: [], blockSize: BLOCK });
  open.push(cache);
  return cache;
}
afterEach(async () => {
  for (const cache of open.splice(0)) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0, slots: 0 });
  }
});

const ahead = { priority: 1, wide: true };
const asked = (store: FakeStore) => store.ranges.map(({ begin, end }) => [begin / BLOCK, end / BLOCK]);

test("one request brings the aligned group around what is asked for, and the others hit", async () => {
  const store = new FakeStore();
  const cache = await cacheOf(32);
  const object = store.object("a", 2 * GROUP);
  const span = await cache.acquire(object, 11 * BLOCK + 5, 12 * BLOCK, ahead);
  expect(Buffer.compare(span.view(11 * BLOCK + 5, 12 * BLOCK), bytesOf(store.seed("a"), 11 * BLOCK + 5, 12 * BLOCK))).toBe(0);
  span.release();
  // The others land after what was waited for.
  (await cache.acquire(object, GROUP, 2 * GROUP, ahead)).release();
  (await cache.acquire(object, GROUP, 2 * GROUP, { priority: 0 })).release();
  expect(asked(store)).toEqual([[8, 16]]);
  expect(cache.stats()).toMatchObject({ originRequests: 1, originFetchedBytes: GROUP, memoryHeldBytes: GROUP });
});

test("what a loop waits for is fetched alone, and so is what nobody said is wide", async () => {
  const store = new FakeStore();
  const cache = await cacheOf(32);
  const object = store.object("a", GROUP);
  (await cache.acquire(object, 0, BLOCK, { priority: 0, wide: true })).release();
  (await cache.acquire(object, 3 * BLOCK, 4 * BLOCK, { priority: 1 })).release();
  expect(asked(store)).toEqual([
    [0, 1],
    [3, 4],
  ]);
});

test("what is held or on its way is not asked for again", async () => {
  const store = new FakeStore();
  const cache = await cacheOf(32);
  const object = store.object("a", GROUP);
  (await cache.acquire(object, 2 * BLOCK, 3 * BLOCK, { priority: 0 })).release();
  const spans = await Promise.all([
    cache.acquire(object, 5 * BLOCK, 6 * BLOCK, { priority: 0 }),
    cache.acquire(object, 0, BLOCK, ahead),
    cache.acquire(object, 7 * BLOCK, 8 * BLOCK, ahead),
  ]);
  for (const span of spans) span.release();
  expect(asked(store).sort(([a], [b]) => a! - b!)).toEqual([
    [0, 2],
    [2, 3],
    [3, 5],
    [5, 6],
    [6, 8],
  ]);
});

test("neighbours without room in memory, and those of lru data, are left alone", async () => {
  const store = new FakeStore();
  const cache = await cacheOf(2);
  const object = store.object("a", GROUP);
  cache.refer(object);
  (await cache.acquire(object, 0, BLOCK, ahead)).release();
  (await cache.acquire(object, 4 * BLOCK, 5 * BLOCK, ahead)).release();
  expect(asked(store)).toEqual([
    [0, 2],
    [4, 5],
  ]);
  const roomy = await cacheOf(32);
  const lru = { ...store.object("b", GROUP), rules: LRU_RULES };
  (await roomy.acquire(lru, 0, BLOCK, ahead)).release();
  expect(asked(store).at(-1)).toEqual([0, 1]);
});

test("a failure reaches who waits, and a later read begins anew", async () => {
  const store = new FakeStore();
  const cache = await cacheOf(32);
  const object = store.object("a", GROUP);
  store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "down"));
  await expect(cache.acquire(object, 0, BLOCK, ahead)).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  (await cache.acquire(object, 0, BLOCK, ahead)).release();
  expect(asked(store)).toEqual([
    [0, 8],
    [0, 8],
  ]);
});
