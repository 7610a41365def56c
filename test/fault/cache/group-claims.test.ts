/** Processes that share a directory agree on who fetches a block: what happens when the one that does dies, stands still or fails. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { type ProcessIdentity, thisProcess } from "../../../src/cache/process-identity.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { MillraceError } from "../../../src/errors.js";
import { IN_TIME } from "../../support/in-time.js";
import { bytesOf, FakeStore } from "../../unit/cache/fake-store.js";

const BLOCK = 64 * 1024;
const SIZE = 8 * BLOCK;
let path: string;
let root: string;
let open: BlockCache[] = [];
let other: ChildProcess | undefined;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-claims-"));
  root = join(path, "millrace-v1");
});
afterEach(async () => {
  for (const cache of open) {
    await cache.close();
    expect(cache.slab.stats().workingBytes).toBe(0);
  }
  // Nothing is left of the claims of those who have closed.
  expect(await readdir(join(root, "claims"))).toEqual([]);
  open = [];
  other?.kill("SIGKILL");
  other = undefined;
  await rm(path, { recursive: true, force: true });
});

async function cacheOf(): Promise<BlockCache> {
  const disk = [{ path, capacity: 2 ** 24, highWatermark: 0.95, lowWatermark: 0.85 }];
  const cache = await BlockCache.open({ memoryBytes: 0, disk, blockSize: BLOCK });
  open.push(cache);
  return cache;
}

/** As many caches on the directory, each as a process of its own would have it, that know of each other. */
async function caches(count: number): Promise<BlockCache[]> {
  const all: BlockCache[] = [];
  for (let i = 0; i < count; i++) all.push(await cacheOf());
  await known(count);
  return all;
}

const known = (count: number) =>
  vi.waitFor(() => expect(open.map((cache) => cache.stats().disk.processes)).toEqual(open.map(() => count)), IN_TIME);

async function read(cache: BlockCache, object: ObjectVersion, signal?: AbortSignal): Promise<void> {
  const span = await cache.acquire(object, 0, object.size, { priority: 0, signal });
  try {
    const bytes = bytesOf((object.store as FakeStore).seed(object.stored.path), 0, object.size);
    expect(Buffer.compare(span.view(0, object.size), bytes)).toBe(0);
  } finally {
    span.release();
  }
}

/** Another process that uses the directory and holds the claim on the object's first group; it does nothing more. */
async function claimedByAnother(object: ObjectVersion): Promise<ProcessIdentity> {
  other = spawn("sleep", ["60"], { stdio: "ignore" });
  const identity = { ...(await thisProcess()), instance: `${other.pid}-00000000000a`, pid: other.pid! };
  for (const folder of ["procs", "claims"]) await mkdir(join(root, folder), { recursive: true });
  await writeFile(join(root, "procs", identity.instance), JSON.stringify(identity));
  await claim(object, identity);
  return identity;
}

const claim = (object: ObjectVersion, holder: ProcessIdentity) => writeFile(join(root, "claims", `${object.id}-0`), JSON.stringify(holder));

test("a block that all miss at once is fetched by one, and the others find it on disk", async () => {
  const all = await caches(3);
  const store = new FakeStore();
  const object = store.object("o", SIZE);
  await Promise.all(all.map((cache) => read(cache, object)));
  expect(store.bytes).toBe(SIZE);
  expect(all.map((cache) => cache.stats().diskHits + cache.stats().misses)).toEqual([8, 8, 8]);
  expect(all.reduce((sum, cache) => sum + cache.stats().disk.writes, 0)).toBe(8);
});

test("who waits for another's fetch can leave, and gives its room back", async () => {
  const [first, second] = (await caches(2)) as [BlockCache, BlockCache];
  const store = new FakeStore();
  const object = store.object("o", SIZE);
  store.shut();
  const fetched = read(first, object);
  await vi.waitFor(() => expect(store.inFlight).toBe(1), IN_TIME);
  const controller = new AbortController();
  const waiting = read(second, object, controller.signal);
  await vi.waitFor(() => expect(second.stats().disk.chargedBytes).toBeGreaterThan(SIZE), IN_TIME);
  controller.abort();
  await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  await vi.waitFor(() => expect(second.stats().disk.chargedBytes).toBe(0), IN_TIME);
  store.open();
  await fetched;
  expect(store.requests).toBe(1);
});

test("where the one that fetches fails, another tries", async () => {
  const [first, second] = (await caches(2)) as [BlockCache, BlockCache];
  const store = new FakeStore();
  const object = store.object("o", SIZE);
  store.shut();
  store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "the origin is down"));
  const failing = read(first, object);
  await vi.waitFor(() => expect(store.inFlight).toBe(1), IN_TIME);
  const waiting = read(second, object);
  store.open();
  await expect(failing).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  await waiting;
  expect(store.bytes).toBe(SIZE);
});

test("a dead process's claim is taken over at once", async () => {
  const object = new FakeStore().object("o", SIZE);
  const identity = await claimedByAnother(object);
  const cache = await cacheOf();
  await known(2);
  // Another living process keeps the claims in use.
  await cacheOf();
  const exited = once(other!, "exit");
  other!.kill("SIGKILL");
  await exited;
  // Its heartbeat is of this moment.
  await claim(object, identity);
  await known(2);
  await read(cache, object);
  expect((object.store as FakeStore).bytes).toBe(SIZE);
  expect(cache.stats().disk.claimTakeovers).toBe(1);
});

test("a process that stands still costs a wait, not the read", async () => {
  const object = new FakeStore().object("o", SIZE);
  await claimedByAnother(object);
  other!.kill("SIGSTOP");
  const cache = await cacheOf();
  await known(2);
  await read(cache, object);
  expect((object.store as FakeStore).bytes).toBe(SIZE);
  expect(cache.stats().disk.claimTakeovers).toBe(1);
});

test("where claims cannot be made, everyone fetches", async () => {
  const all = await caches(2);
  const store = new FakeStore();
  const object = store.object("o", SIZE);
  await rm(join(root, "claims"), { recursive: true });
  await Promise.all(all.map((cache) => read(cache, object)));
  expect(store.bytes).toBeGreaterThanOrEqual(SIZE);
  await mkdir(join(root, "claims"));
});

test("claims that a dead process has left are removed by one that is alone", async () => {
  const object = new FakeStore().object("o", SIZE);
  await claimedByAnother(object);
  const exited = once(other!, "exit");
  other!.kill("SIGKILL");
  await exited;
  const cache = await cacheOf();
  await cache.disk!.scanned();
  expect(await readdir(join(root, "claims"))).toEqual([]);
});

test("a process that stands still with the ledger's lock costs a wait, not the read nor its place on disk", async () => {
  const store = new FakeStore();
  const identity = await claimedByAnother(store.object("unused", SIZE));
  other!.kill("SIGSTOP");
  const cache = await cacheOf();
  await cache.disk!.scanned();
  await writeFile(join(root, "ledger.lock"), JSON.stringify(identity));
  await read(cache, store.object("o", SIZE));
  expect(cache.stats()).toMatchObject({ streamed: 0, disk: { lockTakeovers: 1, lockTimeouts: 0 } });
  await rm(join(root, "claims", `${store.object("unused", SIZE).id}-0`));
});
