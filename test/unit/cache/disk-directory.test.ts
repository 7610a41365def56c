import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { fileCharge } from "../../../src/cache/disk-layout.js";
import type { SpanLease } from "../../../src/cache/span-lease.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { bytesOf, FakeStore, LRU_RULES } from "./fake-store.js";

const BLOCK = 64 * 1024;
let path: string;
let cache: BlockCache;
let store: FakeStore;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-held-"));
  store = new FakeStore();
  const disk = [{ path, capacity: 10 * fileCharge(BLOCK, 4096), highWatermark: 0.95, lowWatermark: 0.5 }];
  cache = await BlockCache.open({ memoryBytes: 0, disk, blockSize: BLOCK });
});

afterEach(async () => {
  await cache.close();
  expect(cache.slab.stats().workingBytes).toBe(0);
  await rm(path, { recursive: true, force: true });
});

const acquire = (object: ObjectVersion, begin: number, end: number): Promise<SpanLease> =>
  cache.acquire(object, begin, end, { priority: 0 });

function check(span: SpanLease, object: ObjectVersion): void {
  const { begin, end } = span;
  expect(Buffer.compare(span.view(begin, end), bytesOf(store.seed(object.stored.path), begin, end))).toBe(0);
}

async function written(): Promise<void> {
  while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** An object whose blocks are on disk, and in nobody's hands. */
async function onDisk(blocks: number, name = "a"): Promise<ObjectVersion> {
  const object = store.object(name, blocks * BLOCK, LRU_RULES);
  (await acquire(object, 0, object.size)).release();
  await written();
  return object;
}

async function blockFiles(): Promise<number> {
  return (await readdir(join(path, "millrace-v1", "blocks"), { recursive: true })).filter((name) => name.includes("-")).length;
}

describe("a block on disk that somebody holds", () => {
  it("is not read a second time, and takes no second slot", async () => {
    const object = await onDisk(3);
    const first = await acquire(object, 0, 1.5 * BLOCK);
    const second = await acquire(object, 1.5 * BLOCK, 3 * BLOCK);
    expect(cache.stats().disk.reads).toBe(3);
    expect(cache.slab.stats().slots).toBe(3);
    first.release();
    check(second, object);
    // Held by the second reader still.
    const third = await acquire(object, BLOCK, 2 * BLOCK);
    second.release();
    check(third, object);
    third.release();
    expect(cache.stats().disk.reads).toBe(3);
    expect(store.requests).toBe(1);
  });

  it("is read again once its slot is another's", async () => {
    const object = await onDisk(2);
    const other = await onDisk(2, "b");
    (await acquire(object, 0, object.size)).release();
    const elsewhere = await acquire(other, 0, other.size);
    const again = await acquire(object, 0, object.size);
    check(again, object);
    check(elsewhere, other);
    expect(cache.stats().disk.reads).toBe(6);
    again.release();
    elsewhere.release();
  });

  it("is not read while the reader that it came for, before it was written, holds it", async () => {
    const object = store.object("a", 2 * BLOCK, LRU_RULES);
    const first = await acquire(object, 0, object.size);
    await written();
    const second = await acquire(object, 0, object.size);
    expect(cache.stats().disk).toMatchObject({ writes: 2, reads: 0 });
    first.release();
    check(second, object);
    second.release();
    (await acquire(object, 0, object.size)).release();
    expect(cache.stats().disk.reads).toBe(2);
  });

  it("loses its file when it is evicted, and its holder keeps the bytes", async () => {
    const object = await onDisk(2);
    const span = await acquire(object, 0, object.size);
    expect(await cache.evict([object.id])).toBe(2 * BLOCK);
    expect(await blockFiles()).toBe(0);
    expect(cache.stats().disk).toMatchObject({ heldBytes: 0, chargedBytes: 0 });
    const again = await acquire(object, 0, object.size);
    expect(store.requests).toBe(2);
    span.release();
    check(again, object);
    again.release();
    await written();
    (await acquire(object, 0, object.size)).release();
    expect(store.requests).toBe(2);
  });
});
