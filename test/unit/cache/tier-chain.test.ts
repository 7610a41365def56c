import { afterEach, describe, expect, it } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { SLOT_UNIT, type Slab } from "../../../src/blocks/slab.js";
import type { SlotSource } from "../../../src/cache/slot-source.js";
import { BlockCache, type BlockCacheOptions } from "../../../src/cache/tier-chain.js";
import { MillraceError } from "../../../src/errors.js";
import { bytesOf, FakeStore, LRU_RULES, PIN } from "./fake-store.js";

const BLOCK = 64 * 1024;
const open: BlockCache[] = [];

async function cacheOf(blocks: number, options: Partial<BlockCacheOptions> = {}): Promise<BlockCache> {
  const cache = await BlockCache.open({ memoryBytes: blocks * BLOCK, disk: [], blockSize: BLOCK, ...options });
  open.push(cache);
  return cache;
}

afterEach(async () => {
  for (const cache of open.splice(0)) {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0, slots: 0, wasteBytes: 0 });
  }
});

const demand = { priority: 0 };

describe("BlockCache on memory and origin", () => {
  it("reads once, then hits without a request", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 3 * BLOCK + 100);
    const span = await cache.acquire(object, 10, 3 * BLOCK + 50, demand);
    expect(Buffer.from(span.view(10, 3 * BLOCK + 50)).equals(Buffer.from(bytesOf(store.seed("a"), 10, 3 * BLOCK + 50)))).toBe(true);
    span.release();
    span.release();
    const again = await cache.acquire(object, 0, object.size, demand);
    expect(again.leases).toHaveLength(4);
    again.release();
    // Admitted blocks are fetched whole, all four in one request.
    expect(store.ranges).toEqual([{ path: "a", begin: 0, end: object.size, priority: 0 }]);
    expect(cache.stats()).toMatchObject({
      misses: 4,
      memoryHits: 4,
      originRequests: 1,
      originFetchedBytes: object.size,
      memoryHeldBytes: object.size,
    });
    expect(cache.cachedBytes(object)).toBe(object.size);
    expect(cache.slab.stats().tierBytes).toBe(3 * BLOCK + SLOT_UNIT);
  });

  it("fetches only the bytes asked for where nothing is admitted", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(0);
    const object = store.object("a", 4 * BLOCK);
    const cuts = [0, 1000, BLOCK + 7, 3 * BLOCK - 1, 4 * BLOCK];
    for (const [i, begin] of cuts.slice(0, -1).entries()) {
      const span = await cache.acquire(object, begin, cuts[i + 1]!, demand);
      expect(Buffer.compare(span.view(begin, cuts[i + 1]!), bytesOf(store.seed("a"), begin, cuts[i + 1]!))).toBe(0);
      span.release();
    }
    expect(store.bytes).toBe(object.size);
    expect(cache.stats()).toMatchObject({ streamed: 7, memoryHeldBytes: 0 });
  });

  it("of a streamed block that several want at once, reads neither a byte twice nor the bytes between them", async () => {
    const store = new FakeStore();
    const wide = 512 * 1024;
    const cache = await cacheOf(0, { blockSize: wide });
    const object = store.object("a", wide);
    const parts = [
      [200_000, 210_000],
      [0, 10_000],
      [205_000, 220_000], // Overlaps the first.
      [220_000, 230_000], // Touches the one before.
      [400_000, 410_000],
    ] as const;
    const spans = await Promise.all(parts.map(([begin, end]) => cache.acquire(object, begin, end, demand)));
    for (const [i, [begin, end]] of parts.entries()) {
      expect(Buffer.compare(spans[i]!.view(begin, end), bytesOf(store.seed("a"), begin, end))).toBe(0);
      spans[i]!.release();
    }
    expect(store.ranges.map(({ begin, end }) => [begin, end]).sort((a, b) => a[0]! - b[0]!)).toEqual([
      [0, 10_000],
      [200_000, 230_000],
      [400_000, 410_000],
    ]);
  });

  it("serves views without a copy, across blocks too where they were fetched together", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 3 * BLOCK);
    const span = await cache.acquire(object, 100, 3 * BLOCK, demand);
    expect(span.view(200, 300).buffer).toBe(span.leases[0]!.bytes.buffer);
    expect(span.view(BLOCK - 5, BLOCK + 5).buffer).toBe(span.leases[0]!.bytes.buffer);
    expect(Buffer.compare(span.view(BLOCK - 5, BLOCK + 5), bytesOf(store.seed("a"), BLOCK - 5, BLOCK + 5))).toBe(0);
    const target = new Uint8Array(2 * BLOCK);
    span.copyTo(150, target);
    expect(Buffer.compare(target, bytesOf(store.seed("a"), 150, 150 + 2 * BLOCK))).toBe(0);
    expect(span.view(3 * BLOCK, 3 * BLOCK)).toHaveLength(0);
    expect(() => span.view(99, 200)).toThrow(RangeError);
    span.release();
  });

  it("joins in a copy what lies across blocks that were fetched apart", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 2 * BLOCK);
    for (const block of [1, 0]) (await cache.acquire(object, block * BLOCK, (block + 1) * BLOCK, demand)).release();
    const span = await cache.acquire(object, 0, 2 * BLOCK, demand);
    const view = span.view(BLOCK - 5, BLOCK + 5);
    expect(view.buffer).not.toBe(span.leases[0]!.bytes.buffer);
    expect(Buffer.compare(view, bytesOf(store.seed("a"), BLOCK - 5, BLOCK + 5))).toBe(0);
    span.release();
  });

  it("fetches a block once for all who ask meanwhile", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 4 * BLOCK);
    store.shut();
    const asked = [0, 1, 2].map((i) => cache.acquire(object, i * 100, 2 * BLOCK + i, { priority: i }));
    await new Promise((resolve) => setImmediate(resolve));
    store.open();
    const spans = await Promise.all(asked);
    for (const [i, span] of spans.entries()) {
      expect(Buffer.compare(span.view(i * 100, 2 * BLOCK + i), bytesOf(store.seed("a"), i * 100, 2 * BLOCK + i))).toBe(0);
      span.release();
    }
    // The first asks for blocks 0 and 1; the others join and fetch block 2, once.
    expect(store.ranges.map(({ begin, end }) => [begin, end])).toEqual([
      [0, 2 * BLOCK],
      [2 * BLOCK, 3 * BLOCK],
    ]);
    expect(cache.stats().joined).toBe(5);
  });

  it("one waiter's abort leaves the others whole; the last one's ends the I/O", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", BLOCK);
    store.shut();
    const [first, second] = [new AbortController(), new AbortController()];
    const a = cache.acquire(object, 0, BLOCK, { priority: 0, signal: first.signal });
    const b = cache.acquire(object, 0, BLOCK, { priority: 0, signal: second.signal });
    await new Promise((resolve) => setImmediate(resolve));
    first.abort();
    await expect(a).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(store.aborted).toBe(0);
    store.open();
    (await b).release();
    expect(store.requests).toBe(1);

    await cache.evict([object.id]);
    store.shut();
    const c = cache.acquire(object, 0, BLOCK, { priority: 0, signal: second.signal });
    await new Promise((resolve) => setImmediate(resolve));
    second.abort();
    await expect(c).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(store.aborted).toBe(1);
    // A new caller is not handed the fetch that was given up.
    store.open();
    (await cache.acquire(object, 0, BLOCK, demand)).release();
    expect(store.requests).toBe(3);
    await expect(cache.acquire(object, 0, BLOCK, { priority: 0, signal: first.signal })).rejects.toMatchObject({
      code: "MILLRACE_ABORTED",
    });
  });

  it("an aborted or failed read gives back what it held already", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 3 * BLOCK);
    (await cache.acquire(object, 0, BLOCK, demand)).release();
    store.shut();
    const controller = new AbortController();
    const asked = cache.acquire(object, 0, object.size, { priority: 0, signal: controller.signal });
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(asked).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    store.open();
    store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "later"));
    await expect(cache.acquire(object, 0, object.size, demand)).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    await cache.evict([object.id]);
    expect(cache.slab.stats().slots).toBe(0);
  });

  it("does not remember a failure, and tells all who waited", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", BLOCK);
    store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "later"));
    const asked = [cache.acquire(object, 0, 10, demand), cache.acquire(object, 5, 20, demand)];
    for (const one of asked) await expect(one).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(cache.stats()).toMatchObject({ memoryChargedBytes: 0 });
    const span = await cache.acquire(object, 0, 20, demand);
    span.release();
    expect(store.requests).toBe(2);
  });

  it("pin: holds what it took in first and streams the rest, epoch after epoch", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(5);
    const objects = [0, 1, 2, 3, 4].map((i) => store.object(`o${i}`, 2 * BLOCK));
    for (const object of objects) cache.refer(object);
    const epoch = async (): Promise<number> => {
      const before = store.bytes;
      for (const object of objects) (await cache.acquire(object, 0, object.size, demand)).release();
      return store.bytes - before;
    };
    expect(await epoch()).toBe(10 * BLOCK);
    expect(await epoch()).toBe(5 * BLOCK);
    expect(await epoch()).toBe(5 * BLOCK);
    expect(cache.stats()).toMatchObject({ admittedBytes: 5 * BLOCK, memoryEvictions: 0 });
  });

  it("gives the room of objects that nobody refers to any more to those in use", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(4);
    const [old, now, guest] = ["old", "now", "guest"].map((name) => store.object(name, 3 * BLOCK)) as [never, never, never] as ReturnType<
      FakeStore["object"]
    >[];
    cache.refer(old!);
    (await cache.acquire(old!, 0, old!.size, demand)).release();
    cache.unrefer(old!.id);
    // Nobody refers to the guest: it takes the free block and evicts nothing.
    (await cache.acquire(guest!, 0, guest!.size, demand)).release();
    expect([cache.cachedBytes(old!), cache.cachedBytes(guest!)]).toEqual([3 * BLOCK, BLOCK]);
    cache.refer(now!);
    (await cache.acquire(now!, 0, now!.size, demand)).release();
    expect([cache.cachedBytes(old!), cache.cachedBytes(guest!), cache.cachedBytes(now!)]).toEqual([0, BLOCK, 3 * BLOCK]);
  });

  it("lru: the least recently used goes first, pinned data stays", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(4);
    const pinned = store.object("pinned", BLOCK);
    cache.refer(pinned);
    (await cache.acquire(pinned, 0, BLOCK, demand)).release();
    const files = [0, 1, 2, 3].map((i) => store.object(`f${i}`, BLOCK, LRU_RULES));
    for (const i of [0, 1, 2, 0, 3]) (await cache.acquire(files[i]!, 0, BLOCK, demand)).release();
    expect([pinned, ...files].map((object) => cache.cachedBytes(object))).toEqual([BLOCK, BLOCK, 0, BLOCK, BLOCK]);
  });

  it("share bounds what a mount holds", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const pinned = store.object("pinned", 6 * BLOCK, { ...PIN, share: 0.5 });
    cache.refer(pinned);
    (await cache.acquire(pinned, 0, pinned.size, demand)).release();
    expect(cache.cachedBytes(pinned)).toBe(4 * BLOCK);
    const rules = { ...LRU_RULES, share: 0.25 };
    const files = [0, 1, 2, 3].map((i) => store.object(`f${i}`, BLOCK, rules));
    for (const file of files) (await cache.acquire(file, 0, BLOCK, demand)).release();
    expect(files.map((object) => cache.cachedBytes(object))).toEqual([0, 0, BLOCK, BLOCK]);
  });

  it("put holds the blocks that are covered whole", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 3 * BLOCK + 10);
    await cache.put(object, 5, bytesOf(store.seed("a"), 5, object.size));
    expect(cache.cachedBytes(object)).toBe(2 * BLOCK + 10);
    const span = await cache.acquire(object, BLOCK, object.size, demand);
    expect(Buffer.compare(span.view(BLOCK, object.size), bytesOf(store.seed("a"), BLOCK, object.size))).toBe(0);
    span.release();
    expect(store.requests).toBe(0);
    expect(await cache.evict((id) => id === object.id)).toBe(2 * BLOCK + 10);
    expect(await cache.evict([object.id])).toBe(0);
  });

  it("accounts bytes and requests to the one who asked", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 4 * BLOCK);
    (await cache.acquire(object, 0, BLOCK, demand)).release();
    const served: unknown[] = [];
    const account = { priority: 1, served: (...entry: unknown[]) => served.push(entry) };
    (await cache.acquire(object, 100, 2 * BLOCK + 5, account)).release();
    expect(served).toEqual([
      ["origin", 0, 1],
      ["memory", BLOCK - 100, 0],
      ["origin", BLOCK + 5, 0],
    ]);
    expect(store.ranges[1]).toMatchObject({ begin: BLOCK, end: 3 * BLOCK, priority: 1 });
  });

  it("keeps a leased block's bytes after eviction", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(1);
    const [a, b] = ["a", "b"].map((name) => store.object(name, BLOCK, LRU_RULES)) as [
      ReturnType<FakeStore["object"]>,
      ReturnType<FakeStore["object"]>,
    ];
    const held = await cache.acquire(a, 0, BLOCK, demand);
    (await cache.acquire(b, 0, BLOCK, demand)).release();
    expect(cache.cachedBytes(a)).toBe(0);
    expect(cache.slab.stats()).toMatchObject({ workingBytes: BLOCK, tierBytes: BLOCK });
    expect(Buffer.compare(held.view(0, BLOCK), bytesOf(store.seed("a"), 0, BLOCK))).toBe(0);
    held.release();
  });

  describe("with blocks that are another node's to hold", () => {
    /** Serves nothing; the blocks that `theirs` says are not this node's. */
    const absent = (theirs: (object: ObjectVersion) => boolean): SlotSource => ({
      tier: "peer",
      groupBytes: 2 * BLOCK,
      elsewhere: theirs,
      read: async (_object, _firstBlock, count) => new Array<undefined>(count).fill(undefined),
    });
    const readAll = async (cache: BlockCache, object: ObjectVersion) => (await cache.acquire(object, 0, object.size, demand)).release();

    it("keeps none of them, and with copies those that find room, which give way to its own", async () => {
      const store = new FakeStore();
      const [own, other] = [store.object("own", 3 * BLOCK), store.object("other", 3 * BLOCK)];
      for (const copies of [false, true]) {
        const cache = await cacheOf(4, { sources: () => [absent(({ id }) => id === other.id)], copies });
        for (const object of [own, other]) cache.refer(object);
        await readAll(cache, other);
        expect(cache.cachedBytes(other)).toBe(copies ? 3 * BLOCK : 0);
        await readAll(cache, own);
        expect([own, other].map((object) => cache.cachedBytes(object))).toEqual([3 * BLOCK, copies ? BLOCK : 0]);
        // A copy takes nothing's place.
        await readAll(cache, other);
        expect([own, other].map((object) => cache.cachedBytes(object))).toEqual([3 * BLOCK, copies ? BLOCK : 0]);
      }
    });

    it("lets copies go before its own lru data and its own data that nobody refers to yet, however young they are", async () => {
      const store = new FakeStore();
      const [guest, lru, copy] = [store.object("guest", BLOCK), store.object("lru", BLOCK, LRU_RULES), store.object("copy", 2 * BLOCK)];
      const more = store.object("more", 2 * BLOCK);
      const cache = await cacheOf(4, { sources: () => [absent(({ id }) => id === copy.id)], copies: true });
      cache.refer(copy);
      for (const object of [guest, lru, copy, copy]) await readAll(cache, object);
      cache.refer(more);
      await readAll(cache, more);
      expect([guest, lru, copy, more].map((object) => cache.cachedBytes(object))).toEqual([BLOCK, BLOCK, 0, 2 * BLOCK]);
    });

    it("puts no copy in the place of what it owns", async () => {
      const store = new FakeStore();
      const [lru, copy] = [store.object("lru", 2 * BLOCK, LRU_RULES), store.object("copy", 2 * BLOCK)];
      const cache = await cacheOf(2, { sources: () => [absent(({ id }) => id === copy.id)], copies: true });
      await readAll(cache, lru);
      await readAll(cache, copy);
      await cache.put(copy, 0, bytesOf(store.seed("copy"), 0, copy.size));
      expect([lru, copy].map((object) => cache.cachedBytes(object))).toEqual([2 * BLOCK, 0]);
    });

    it("lets go of what has become another's when its own need the room, and keeps what has become its own", async () => {
      const store = new FakeStore();
      const [first, second, third] = ["first", "second", "third"].map((name) => store.object(name, 2 * BLOCK)) as ObjectVersion[];
      let theirs = new Set<string>([third!.id]);
      const cache = await cacheOf(4, { sources: () => [absent(({ id }) => theirs.has(id))], copies: true });
      for (const object of [first!, second!, third!]) cache.refer(object);
      await readAll(cache, first!);
      await readAll(cache, third!);
      theirs = new Set([first!.id]);
      await cache.ownersChanged();
      await readAll(cache, second!);
      expect([first!, second!, third!].map((object) => cache.cachedBytes(object))).toEqual([0, 2 * BLOCK, 2 * BLOCK]);
    });
  });

  it("asks sources before the origin, and the origin for what they have not", async () => {
    const store = new FakeStore();
    const asked: number[][] = [];
    const peer = (slab: Slab): SlotSource => ({
      tier: "peer",
      groupBytes: 2 * BLOCK,
      elsewhere: () => true,
      read: async (object, firstBlock, count) => {
        asked.push([firstBlock, count]);
        return Array.from({ length: count }, (_, i) => {
          const block = firstBlock + i;
          if (block % 2 === 1) return undefined;
          const slot = slab.allocate(BLOCK);
          slot.bytes.set(bytesOf(store.seed(object.stored.path), block * BLOCK, (block + 1) * BLOCK));
          const lease = slot.lease(block * BLOCK);
          slot.release();
          return lease;
        });
      },
    });
    const cache = await cacheOf(8, { sources: (slab) => [peer(slab)] });
    const object = store.object("a", 4 * BLOCK);
    const span = await cache.acquire(object, 0, object.size, demand);
    expect(Buffer.compare(span.view(0, object.size), bytesOf(store.seed("a"), 0, object.size))).toBe(0);
    span.release();
    expect(asked).toEqual([
      [0, 2],
      [2, 2],
    ]);
    expect(store.ranges.map(({ begin, end }) => [begin / BLOCK, end / BLOCK])).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(cache.stats()).toMatchObject({
      peerHits: 2,
      peerBytes: 2 * BLOCK,
      misses: 2,
      originBytes: 2 * BLOCK,
      streamed: 4,
      memoryHeldBytes: 0,
    });
  });

  it("close fails what waits, and refuses what comes after", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", BLOCK);
    store.shut();
    const waiting = cache.acquire(object, 0, BLOCK, demand);
    const failed = expect(waiting).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await new Promise((resolve) => setImmediate(resolve));
    await cache.close();
    await failed;
    expect(store.inFlight).toBe(0);
    await expect(cache.acquire(object, 0, BLOCK, demand)).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await cache.close();
  });

  it("refuses bytes outside the object, and holds nothing for none", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(8);
    const object = store.object("a", 10);
    for (const [begin, end] of [
      [-1, 5],
      [0, 11],
      [6, 5],
    ] as const)
      await expect(cache.acquire(object, begin, end, demand)).rejects.toMatchObject({ code: "MILLRACE_CONFIG", range: { begin, end } });
    const none = await cache.acquire(object, 10, 10, demand);
    expect(none.leases).toEqual([]);
    expect(none.view(10, 10)).toHaveLength(0);
    expect((await cache.acquire(store.object("empty", 0), 0, 0, demand)).leases).toEqual([]);
  });
});
