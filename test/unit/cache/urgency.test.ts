/** How urgent a fetch is, from who asks the cache to the request that the store gets; and into how many requests a read is cut. */
import { afterEach, describe, expect, it } from "vitest";
import { objectVersion } from "../../../src/blocks/object-version.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { Limiter, withLimits } from "../../../src/storage/limit.js";
import type { OriginStore, PaceStats } from "../../../src/storage/origin-store.js";
import { Priority } from "../../../src/storage/priority.js";
import { FakeStore, PIN } from "./fake-store.js";

const BLOCK = 64 * 1024;
const open: BlockCache[] = [];
const settle = () => new Promise((resolve) => setImmediate(resolve));

async function cacheOf(memoryBytes: number, blockSize = BLOCK): Promise<BlockCache> {
  open.push(await BlockCache.open({ memoryBytes, disk: [], blockSize }));
  return open.at(-1)!;
}

afterEach(async () => {
  for (const cache of open.splice(0)) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, slots: 0 });
  }
});

/** One request at a time, none of which is answered before `fake.open()`. */
function queueOfOne() {
  const fake = new FakeStore();
  fake.shut();
  const limiter = new Limiter({ concurrency: 1 });
  const store = withLimits(fake, limiter);
  const object = objectVersion(store, { path: "a", size: 64 * BLOCK, etag: "1", lastModified: undefined }, PIN);
  return { fake, limiter, object, asked: () => fake.ranges.map(({ begin, priority }) => [begin / BLOCK, priority]) };
}

describe("a fetch that waits for its turn", () => {
  it.each([0, 64 * BLOCK])("goes next when the loop asks for its block, behind 49 prefetches before (memory %i)", async (memory) => {
    const cache = await cacheOf(memory);
    const { fake, limiter, object, asked } = queueOfOne();
    const take = async (block: number, priority: number) =>
      (await cache.acquire(object, block * BLOCK, (block + 1) * BLOCK, { priority })).release();
    const prefetches = Array.from({ length: 50 }, (_, block) => take(block, 1_000_000));
    await settle();
    expect(limiter.stats()).toEqual({ inFlight: 1, queued: 49 });
    const demand = take(49, 0);
    const readAhead = take(48, 1);
    const late = take(47, 2_000_000); // Less urgent than the prefetch that it joins.
    fake.open();
    await Promise.all([...prefetches, demand, readAhead, late]);
    expect(asked()).toEqual([[0, 1_000_000], [49, 0], [48, 1], ...Array.from({ length: 47 }, (_, i) => [i + 1, 1_000_000])]);
    expect(cache.stats().joined).toBe(3);
  });

  it("is raised with the priority of whoever waits, also where they joined another's fetch, and in all its requests", async () => {
    const cache = await cacheOf(0);
    const { fake, object, asked } = queueOfOne();
    const take = async (begin: number, end: number, priority: number | Priority) =>
      (await cache.acquire(object, begin, end, { priority })).release();
    const first = take(0, BLOCK, 2);
    await settle();
    const unit = new Priority(1);
    // Blocks 40 and 41 are on their way for a prefetch; 42 and 43 are not.
    const all = [first, take(10 * BLOCK, 11 * BLOCK, 1), take(40 * BLOCK, 42 * BLOCK, 2), take(40 * BLOCK, 44 * BLOCK, unit)];
    await settle();
    unit.raise(0);
    fake.open();
    await Promise.all(all);
    expect(asked()).toEqual([
      [0, 2],
      [40, 0],
      [42, 0],
      [10, 1],
    ]);
  });

  it("stays as urgent when who raised it has left", async () => {
    const cache = await cacheOf(0);
    const { fake, object, asked } = queueOfOne();
    const take = async (block: number, priority: number, signal?: AbortSignal) =>
      (await cache.acquire(object, block * BLOCK, (block + 1) * BLOCK, { priority, signal })).release();
    const all = [take(0, 2), take(1, 2), take(2, 2)];
    await settle();
    const controller = new AbortController();
    const gone = take(2, 0, controller.signal);
    controller.abort();
    await expect(gone).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    fake.open();
    await Promise.all(all);
    expect(asked()).toEqual([
      [0, 2],
      [2, 0],
      [1, 2],
    ]);
  });
});

describe("a long read", () => {
  const MIB = 2 ** 20;
  const paced = (fake: FakeStore, spanBytes: number): OriginStore => ({
    uri: fake.uri,
    list: () => fake.list(),
    stat: (path) => fake.stat(path),
    readInto: (...read) => fake.readInto(...read),
    pace: (): PaceStats => ({
      concurrency: 4,
      latencyMs: undefined,
      connectionBytesPerSecond: undefined,
      bytesPerSecond: undefined,
      spanBytes,
      slowDowns: 0,
      receivedBytes: 0,
    }),
  });

  it.each([
    [2 * MIB, 16],
    [8 * MIB, 4],
  ])("is cut into spans of what the store says, %i bytes, all asked for at once", async (spanBytes, requests) => {
    const fake = new FakeStore();
    fake.shut();
    const object = objectVersion(paced(fake, spanBytes), { path: "a", size: 32 * MIB, etag: "1", lastModified: undefined }, PIN);
    const cache = await cacheOf(0, MIB);
    const read = cache.acquire(object, 0, object.size, { priority: 0 });
    await settle();
    expect(fake.inFlight).toBe(requests);
    expect(fake.ranges.map(({ begin, end }) => [begin, end])).toEqual(
      Array.from({ length: requests }, (_, i) => [i * spanBytes, (i + 1) * spanBytes]),
    );
    fake.open();
    (await read).release();
  });

  it("of a store that says nothing is cut at 16 MiB", async () => {
    const fake = new FakeStore();
    const cache = await cacheOf(0, MIB);
    (await cache.acquire(fake.object("a", 40 * MIB), 0, 40 * MIB, { priority: 0 })).release();
    expect(fake.ranges.map(({ begin, end }) => (end - begin) / MIB)).toEqual([16, 16, 8]);
  });
});
