import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MetadataCache, type MetadataCacheOptions } from "../../../src/cache/metadata-cache.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { MillraceError } from "../../../src/errors.js";
import type { ListOptions, Store, StoredObject } from "../../../src/storage/store.js";
import { deferred } from "../../../src/util/deferred.js";
import { opened } from "./fake-store.js";

class NameStore implements Store {
  readonly uri: string;
  readonly objects = new Map<string, StoredObject>();
  stats = 0;
  lists = 0;
  yielded = 0;
  aborted = 0;
  gate: ReturnType<typeof deferred<void>> | undefined;
  failNext: Error | undefined;

  constructor(names: readonly string[], uri = "fake://names") {
    this.uri = uri;
    for (const name of names) this.add(name);
  }

  add(path: string, etag = "1"): void {
    this.objects.set(path, { path, size: path.length, etag, lastModified: undefined });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<StoredObject> {
    this.lists++;
    const paths = [...this.objects.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const path of paths) {
      if (!path.startsWith(prefix)) continue;
      await this.#pause(options.signal);
      this.yielded++;
      yield this.objects.get(path)!;
    }
  }

  async stat(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    this.stats++;
    await this.#pause(options.signal);
    const found = this.objects.get(path);
    if (found === undefined) throw new MillraceError("MILLRACE_NOT_FOUND", `${path}: no such object`);
    return found;
  }

  async readInto(): Promise<void> {}

  async #pause(signal: AbortSignal | undefined): Promise<void> {
    const { failNext } = this;
    this.failNext = undefined;
    if (failNext !== undefined) throw failNext;
    await opened(this.gate?.promise ?? Promise.resolve(), signal, () => this.aborted++);
  }
}

let now = 1;
function cacheOf(options: Partial<MetadataCacheOptions> = {}): MetadataCache {
  return new MetadataCache({ ttlMs: 60_000, memoryBytes: 1 << 20, directories: [], now: () => now, ...options });
}

async function names(list: AsyncIterable<StoredObject>): Promise<string[]> {
  const found: string[] = [];
  for await (const object of list) found.push(object.path);
  return found;
}

beforeEach(() => {
  now = 1;
});

describe("stat", () => {
  it("asks once within the TTL, then again", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    expect((await cache.stat(store, "a")).etag).toBe("1");
    now += 59_000;
    store.add("a", "2");
    expect((await cache.stat(store, "a")).etag).toBe("1");
    now += 2_000;
    expect((await cache.stat(store, "a")).etag).toBe("2");
    expect(store.stats).toBe(2);
    expect(cache.stats()).toMatchObject({ statHits: 1, statRequests: 2, entries: 1 });
  });

  it("believes for 5 s that an object is missing", async () => {
    const store = new NameStore([]);
    const cache = cacheOf();
    for (const later of [0, 4_000]) {
      now += later;
      await expect(cache.stat(store, "a")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    }
    expect(store.stats).toBe(1);
    now += 2_000;
    store.add("a");
    expect((await cache.stat(store, "a")).path).toBe("a");
    expect(cache.stats().negativeHits).toBe(1);
  });

  it("asks once for all who ask meanwhile; one who aborts leaves the others whole, the last ends the call", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    store.gate = deferred();
    const [one, two] = [new AbortController(), new AbortController()];
    const a = cache.stat(store, "a", { signal: one.signal });
    const b = cache.stat(store, "a", { signal: two.signal });
    one.abort();
    await expect(a).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(store.aborted).toBe(0);
    store.gate.resolve();
    expect((await b).path).toBe("a");
    expect(store.stats).toBe(1);
    store.gate = deferred();
    cache.forget(store, "a");
    const c = cache.stat(store, "a", { signal: two.signal });
    two.abort();
    await expect(c).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(store.aborted).toBe(1);
    await expect(cache.stat(store, "a", { signal: two.signal })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });

  it("does not remember other failures", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    store.failNext = new MillraceError("MILLRACE_UNAVAILABLE", "later");
    await expect(cache.stat(store, "a")).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect((await cache.stat(store, "a")).path).toBe("a");
  });

  it("what was forgotten while it was asked for is not kept", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    store.gate = deferred();
    const asked = cache.stat(store, "a");
    cache.forget(store, "a");
    store.gate.resolve();
    await asked;
    await cache.stat(store, "a");
    expect(store.stats).toBe(2);
  });

  it("keeps nothing with a TTL of 0, and stays within its memory", async () => {
    const store = new NameStore(Array.from({ length: 500 }, (_, i) => `object-${i}`));
    const off = cacheOf({ ttlMs: 0 });
    await off.stat(store, "object-1");
    await off.stat(store, "object-1");
    expect(store.stats).toBe(2);
    const small = cacheOf({ memoryBytes: 20_000 });
    for (const path of store.objects.keys()) await small.stat(store, path);
    expect(small.stats().bytes).toBeLessThanOrEqual(20_000);
    expect(small.stats().entries).toBeGreaterThan(20);
  });
});

describe("list", () => {
  it("keeps a whole listing, which answers stat too", async () => {
    const store = new NameStore(["d/a", "d/b", "d/é", "d/\u{1f600}", "d/\uff5e", "e"]);
    const cache = cacheOf();
    const first = await names(cache.list(store, "d/"));
    expect(first).toEqual(["d/a", "d/b", "d/é", "d/\uff5e", "d/\u{1f600}"]);
    expect(await names(cache.list(store, "d/"))).toEqual(first);
    for (const path of first) expect((await cache.stat(store, path)).path).toBe(path);
    expect([store.lists, store.stats]).toEqual([1, 0]);
    await cache.stat(store, "e");
    await expect(cache.stat(store, "d/c")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    expect(cache.stats()).toMatchObject({ listHits: 1, listRequests: 1, statHits: 5, statRequests: 2 });
    now += 61_000;
    await names(cache.list(store, "d/"));
    expect(store.lists).toBe(2);
  });

  it("is one walk for all who list meanwhile, at each one's pace", async () => {
    const store = new NameStore(["a", "b", "c"]);
    const cache = cacheOf();
    const slow = cache.list(store, "");
    expect((await slow.next()).value.path).toBe("a");
    expect(await names(cache.list(store, ""))).toEqual(["a", "b", "c"]);
    expect(await names(slow)).toEqual(["b", "c"]);
    expect(store.lists).toBe(1);
  });

  it("a reader that leaves ends the walk only when it was the last", async () => {
    const store = new NameStore(["a", "b", "c"]);
    const cache = cacheOf();
    const one = cache.list(store, "");
    const two = cache.list(store, "");
    await one.next();
    await two.next();
    await one.return(undefined);
    expect(await names(two)).toEqual(["b", "c"]);
    cache.invalidate(store, "");
    for await (const object of cache.list(store, "")) if (object.path === "b") break;
    // A walk that was left is not joined, and what it saw is not taken for the whole.
    expect(await names(cache.list(store, ""))).toEqual(["a", "b", "c"]);
    expect(store.lists).toBe(3);
  });

  it("honours an abort while it waits for the origin", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    store.gate = deferred();
    const controller = new AbortController();
    const asked = cache.list(store, "", { signal: controller.signal }).next();
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(asked).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(store.aborted).toBe(1);
  });

  it("passes a failure on and walks anew", async () => {
    const store = new NameStore(["a"]);
    const cache = cacheOf();
    store.failNext = new MillraceError("MILLRACE_UNAVAILABLE", "later");
    await expect(names(cache.list(store, ""))).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(await names(cache.list(store, ""))).toEqual(["a"]);
  });

  it("streams a listing that does not fit, without keeping it", async () => {
    const store = new NameStore(Array.from({ length: 5_000 }, (_, i) => `object-${String(i).padStart(5, "0")}`));
    const cache = cacheOf({ memoryBytes: 100_000 });
    expect(await names(cache.list(store, ""))).toHaveLength(5_000);
    const late = cache.list(store, "");
    for (let i = 0; i < 3_000; i++) await late.next();
    expect(await names(cache.list(store, ""))).toHaveLength(5_000);
    expect(await names(late)).toHaveLength(2_000);
    expect(store.lists).toBe(3);
    expect(cache.stats().bytes).toBeLessThanOrEqual(100_000);
  });

  it("forget and invalidate drop what they should, and no more", async () => {
    const store = new NameStore(["d/a", "d/b", "e/a"]);
    const other = new NameStore(["d/a"], "fake://other");
    const cache = cacheOf();
    for (const prefix of ["d/", "e/", ""]) await names(cache.list(store, prefix));
    await names(cache.list(other, "d/"));
    cache.forget(store, "d/a");
    await names(cache.list(store, "e/"));
    await names(cache.list(other, "d/"));
    expect([store.lists, other.lists]).toEqual([3, 1]);
    for (const prefix of ["d/", ""]) await names(cache.list(store, prefix));
    expect(store.lists).toBe(5);
    cache.forget(store, "nothing/here");
    await cache.stat(other, "d/a");
    expect(cache.invalidate(store, "d/")).toBe(1);
    await expect(cache.stat(store, "d/x")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    expect(cache.invalidate(store, "d/")).toBe(1);
    expect(cache.invalidate(store, "")).toBe(1);
    expect(other.stats).toBe(0);
  });
});

describe("blobs", () => {
  let path: string;
  let blocks: BlockCache[] = [];

  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), "millrace-meta-"));
  });
  afterEach(async () => {
    for (const cache of blocks) await cache.close();
    blocks = [];
    await rm(path, { recursive: true, force: true });
  });

  async function diskCache(capacity = 8 << 20): Promise<BlockCache> {
    const disk = [{ path, capacity, highWatermark: 0.95, lowWatermark: 0.85 }];
    const cache = await BlockCache.open({ memoryBytes: 0, disk, blockSize: 65_536 });
    blocks.push(cache);
    return cache;
  }

  it("live in memory, and on disk across restarts, within its capacity", async () => {
    const first = await diskCache();
    const cache = cacheOf({ directories: first.disk!.directories });
    expect(await cache.blob("index of v1")).toBeUndefined();
    await cache.putBlob("index of v1", new Uint8Array([1, 2, 3]));
    await cache.putBlob("empty", new Uint8Array(0));
    expect(await cache.blob("index of v1")).toEqual(new Uint8Array([1, 2, 3]));
    expect(first.stats().disk.chargedBytes).toBeGreaterThan(0);
    const charged = first.stats().disk.chargedBytes;
    await cache.putBlob("index of v1", new Uint8Array([1, 2, 3]));
    expect(first.stats().disk.chargedBytes).toBe(charged);
    await first.close();
    const second = await diskCache();
    await second.disk!.scanned();
    expect(second.stats().disk.chargedBytes).toBe(charged);
    const again = cacheOf({ directories: second.disk!.directories });
    expect(await again.blob("index of v1")).toEqual(new Uint8Array([1, 2, 3]));
    expect(await again.blob("empty")).toEqual(new Uint8Array(0));
    expect(await again.blob("index of v2")).toBeUndefined();
    expect(again.stats()).toMatchObject({ blobDiskHits: 2, blobMisses: 1, blobMemoryHits: 0 });
  });

  it("are checked: a damaged one is a miss and is removed", async () => {
    const disk = await diskCache();
    const cache = cacheOf({ directories: disk.disk!.directories, memoryBytes: 0 });
    await cache.putBlob("k", new Uint8Array(1000).fill(5));
    const folder = join(path, "millrace-v1", "meta");
    const file = (await readdir(folder, { recursive: true })).find((name) => name.length > 10)!;
    await writeFile(join(folder, file), "not a blob");
    expect(await cache.blob("k")).toBeUndefined();
    expect(disk.stats().disk).toMatchObject({ checksumMisses: 1, chargedBytes: 0 });
    await expect(stat(join(folder, file))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("take a twentieth of the directory at most, the oldest goes first", async () => {
    const disk = await diskCache(1 << 20);
    const cache = cacheOf({ directories: disk.disk!.directories, memoryBytes: 0 });
    for (let i = 0; i < 20; i++) await cache.putBlob(`k${i}`, new Uint8Array(4000));
    expect(disk.stats().disk.chargedBytes).toBeLessThanOrEqual((1 << 20) / 20);
    expect(await cache.blob("k0")).toBeUndefined();
    expect(await cache.blob("k19")).toHaveLength(4000);
    await cache.putBlob("too large", new Uint8Array(100_000));
    expect(await cache.blob("too large")).toBeUndefined();
  });
});
