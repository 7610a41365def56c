/** Reads into a destination of the reader's own: what lies there at once, what is copied, and that nobody else ever sees that memory. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import type { SlotSource } from "../../../src/cache/slot-source.js";
import { BlockCache, type BlockCacheOptions } from "../../../src/cache/tier-chain.js";
import { deferred } from "../../../src/util/deferred.js";
import { bytesOf, FakeStore, LRU_RULES, PIN } from "./fake-store.js";

const BLOCK = 64 * 1024;
const open: BlockCache[] = [];
let path: string;

async function cacheOf(blocks: number, options: Partial<BlockCacheOptions> = {}): Promise<BlockCache> {
  const cache = await BlockCache.open({ memoryBytes: blocks * BLOCK, disk: [], blockSize: BLOCK, ...options });
  open.push(cache);
  return cache;
}
const diskAt = (blocks: number) => [{ path, capacity: blocks * (BLOCK + 8192), highWatermark: 0.95, lowWatermark: 0.5 }];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-into-"));
});
afterEach(async () => {
  for (const cache of open.splice(0)) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0, slots: 0 });
  }
  await rm(path, { recursive: true, force: true });
});

/** The store that also says whose memory it was given. */
class WatchingStore extends FakeStore {
  readonly targets: ArrayBufferLike[] = [];
  override readInto(...read: Parameters<FakeStore["readInto"]>): Promise<void> {
    this.targets.push(...read[2].map(({ buffer }) => buffer));
    return super.readInto(...read);
  }
}
const store = () => new WatchingStore();
const right = (object: ObjectVersion, begin = 0, end = object.size) =>
  bytesOf((object.store as FakeStore).seed(object.stored.path), begin, end);

async function readInto(cache: BlockCache, object: ObjectVersion, begin = 0, end: number = object.size): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - begin);
  const span = await cache.acquire(object, begin, end, { priority: 0, into: { begin, bytes } });
  span.copyTo(begin, bytes);
  span.release();
  expect(Buffer.compare(bytes, right(object, begin, end))).toBe(0);
  return bytes;
}
async function read(cache: BlockCache, object: ObjectVersion): Promise<void> {
  const span = await cache.acquire(object, 0, object.size, { priority: 0 });
  expect(Buffer.compare(span.view(0, object.size), right(object))).toBe(0);
  span.release();
}

describe("from the origin", () => {
  test("what nobody holds is read to its place, whatever its edges, and takes nothing of the slab", async () => {
    const origin = store();
    const cache = await cacheOf(0);
    const object = origin.object("a", 4 * BLOCK + 9);
    const whole = await readInto(cache, object);
    const part = await readInto(cache, object, 100, 3 * BLOCK - 1);
    expect(new Set(origin.targets)).toEqual(new Set([whole.buffer, part.buffer]));
    expect(cache.slab.stats()).toMatchObject({ segmentBytes: 0, workingPeakBytes: 0 });
    expect(cache.stats()).toMatchObject({ misses: 8, streamed: 8, originRequests: 2 });
  });

  test("what a peer did not serve, and another waits for too, is not read to the one reader's place", async () => {
    const origin = store();
    const [asked, answer] = [deferred<void>(), deferred<void>()];
    const peer: SlotSource = {
      tier: "peer",
      groupBytes: BLOCK,
      elsewhere: () => true,
      standsIn: () => true,
      read: async (_object, _first, count) => {
        asked.resolve();
        await answer.promise;
        return new Array(count).fill(undefined);
      },
    };
    const cache = await cacheOf(4, { sources: () => [peer] });
    const object = origin.object("a", BLOCK);
    const stop = new AbortController();
    const into = { begin: 0, bytes: new Uint8Array(BLOCK) };
    const first = cache.acquire(object, 0, BLOCK, { priority: 0, into, signal: stop.signal });
    first.catch(() => {});
    await asked.promise;
    const second = read(cache, object);
    // Its memory is its own again.
    stop.abort();
    await expect(first).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    answer.resolve();
    await second;
    expect(into.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test("what is held is a copy: what the reader does to its own changes nothing", async () => {
    const origin = store();
    const cache = await cacheOf(16);
    const object = origin.object("a", 4 * BLOCK + 9);
    (await readInto(cache, object, 10, object.size)).fill(0);
    await read(cache, object);
    await readInto(cache, object);
    expect(origin.requests).toBe(1);
    expect(cache.cachedBytes(object)).toBe(object.size);
  });

  /** A read into the reader's own memory, and another that comes while it is under way. */
  async function readAndJoin(origin: FakeStore, cache: BlockCache, object: ObjectVersion) {
    origin.shut();
    const bytes = new Uint8Array(object.size);
    const first = cache.acquire(object, 0, object.size, { priority: 0, into: { begin: 0, bytes } });
    const second = cache.acquire(object, 0, object.size, { priority: 0 });
    origin.open();
    const [own, joined] = await Promise.all([first, second]);
    return { bytes, own, joined };
  }

  /** Both have the right bytes, and what the reader does with its own does not concern the other. */
  function expectOwnMemory(object: ObjectVersion, { bytes, own, joined }: Awaited<ReturnType<typeof readAndJoin>>): void {
    own.copyTo(0, bytes);
    expect(Buffer.compare(bytes, right(object))).toBe(0);
    bytes.fill(0);
    expect(Buffer.compare(joined.view(0, object.size), right(object))).toBe(0);
  }

  test("who joins gets a copy", async () => {
    const origin = store();
    const cache = await cacheOf(0);
    const object = origin.object("a", 2 * BLOCK);
    const { bytes, own, joined } = await readAndJoin(origin, cache, object);
    expectOwnMemory(object, { bytes, own, joined });
    expect(joined.leases.map((lease) => lease.bytes.buffer).includes(bytes.buffer)).toBe(false);
    own.release();
    joined.release();
    expect(origin.requests).toBe(1);
  });

  test("who joins gets the copy that memory holds: there is one of each block", async () => {
    const origin = store();
    const cache = await cacheOf(16);
    const object = origin.object("a", 3 * BLOCK);
    const { bytes, own, joined } = await readAndJoin(origin, cache, object);
    expect(cache.slab.stats()).toMatchObject({ slots: 3, tierBytes: object.size, workingBytes: 0, workingPeakBytes: object.size });
    expectOwnMemory(object, { bytes, own, joined });
    own.release();
    joined.release();
  });

  test("room that was taken for copies is given back where the bytes do not come", async () => {
    const origin = store();
    const cache = await cacheOf(16);
    const object = origin.object("a", 3 * BLOCK);
    origin.shut();
    const stop = new AbortController();
    const into = { begin: 0, bytes: new Uint8Array(object.size) };
    const reading = cache.acquire(object, 0, object.size, { priority: 0, into, signal: stop.signal });
    while (cache.slab.stats().slots < 3) await nextTurn();
    stop.abort();
    await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    origin.open();
    while (cache.slab.stats().slots > 0) await nextTurn();
    await readInto(cache, object);
    expect(cache.cachedBytes(object)).toBe(object.size);
  });

  test("who joins gets it also where the reader has left", async () => {
    const origin = store();
    const cache = await cacheOf(0);
    const object = origin.object("a", BLOCK);
    origin.shut();
    const controller = new AbortController();
    const into = { begin: 0, bytes: new Uint8Array(BLOCK) };
    const left = cache.acquire(object, 0, BLOCK, { priority: 0, into, signal: controller.signal });
    const joined = cache.acquire(object, 0, BLOCK, { priority: 0 });
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(left).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    origin.open();
    const span = await joined;
    into.bytes.fill(0);
    expect(Buffer.compare(span.view(0, BLOCK), right(object))).toBe(0);
    span.release();
  });

  test("where other threads read, only shared memory is filled", async () => {
    const origin = store();
    const cache = await cacheOf(0, { ioThreads: true });
    await readInto(cache, origin.object("a", 3 * BLOCK));
    expect(origin.targets.every((buffer) => buffer instanceof SharedArrayBuffer)).toBe(true);
  });
});

describe("from disks", () => {
  test("a block is read to its place; who reads part of one gets it by the slab", async () => {
    const origin = store();
    const cache = await cacheOf(0, { disk: diskAt(64) });
    const object = origin.object("a", 4 * BLOCK + 9);
    (await readInto(cache, object)).fill(0);
    while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
    const { workingPeakBytes } = cache.slab.stats();
    await readInto(cache, object);
    await readInto(cache, object, 5, object.size - 5);
    expect(cache.slab.stats().workingPeakBytes).toBe(workingPeakBytes);
    expect(cache.stats()).toMatchObject({ diskHits: 10, misses: 5, disk: { reads: 10 } });
    expect(origin.requests).toBe(1);
  });

  test("a block that is not what it should be is fetched again, over what was read of it", async () => {
    const origin = store();
    const cache = await cacheOf(0, { disk: diskAt(64) });
    const object = origin.object("a", 2 * BLOCK);
    await readInto(cache, object);
    while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
    const files = (await readdir(path, { recursive: true })).filter((name) => /[0-9a-f]{32}-\d+-\d+$/.test(name));
    for (const file of files) await writeFile(join(path, file), Buffer.alloc(BLOCK + 64, 1));
    await readInto(cache, object);
    expect(cache.stats().disk.checksumMisses).toBe(2);
    expect(origin.requests).toBe(2);
  });

  test("of lru data memory keeps a copy where it has room, and pushes nothing out for it", async () => {
    const origin = store();
    const cache = await cacheOf(5, { disk: diskAt(64) });
    const long = origin.object("long", 8 * BLOCK, LRU_RULES);
    const small = origin.object("small", 3 * BLOCK, LRU_RULES);
    await read(cache, long);
    while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
    await read(cache, small);
    const before = cache.stats();
    await readInto(cache, long);
    await readInto(cache, small);
    const after = cache.stats();
    expect(after.memoryEvictions).toBe(before.memoryEvictions);
    expect(after.memoryHits - before.memoryHits).toBeGreaterThanOrEqual(3);
  });
});

test("reads of pinned data that a dataset uses are not pushed out by a long read of lru data", async () => {
  const origin = store();
  const cache = await cacheOf(6);
  const pinned = origin.object("pinned", 4 * BLOCK, PIN);
  cache.refer(pinned);
  await read(cache, pinned);
  await readInto(cache, origin.object("checkpoint", 40 * BLOCK, LRU_RULES));
  expect(cache.cachedBytes(pinned)).toBe(pinned.size);
  const before = origin.requests;
  await read(cache, pinned);
  expect(origin.requests).toBe(before);
  cache.unrefer(pinned.id);
});
