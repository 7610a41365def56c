import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { blockPath, fileCharge, HEADER_BYTES } from "../../../src/cache/disk-layout.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { IN_TIME } from "../../support/in-time.js";
import { bytesOf, FakeStore } from "../../unit/cache/fake-store.js";

const BLOCK = 64 * 1024;
const CHARGE = fileCharge(BLOCK, 4096);
const demand = { priority: 0 };
let path: string;
let open: BlockCache[] = [];
let children: ChildProcess[] = [];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "millrace-fault-"));
});

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
  for (const cache of open) {
    await cache.close();
    expect(cache.slab.stats().workingBytes).toBe(0);
  }
  open = [];
  children = [];
  await rm(path, { recursive: true, force: true });
});

async function cacheOf(blocks: number, log: (message: string) => void = () => {}, directory: string = path): Promise<BlockCache> {
  const disk = [{ path: directory, capacity: blocks * CHARGE, highWatermark: 0.95, lowWatermark: 0.85 }];
  const cache = await BlockCache.open({ memoryBytes: 0, disk, blockSize: BLOCK, log: (_level, _fields, message) => log(message) });
  open.push(cache);
  return cache;
}

async function read(cache: BlockCache, object: ObjectVersion): Promise<void> {
  const span = await cache.acquire(object, 0, object.size, demand);
  try {
    expect(Buffer.compare(span.view(0, object.size), bytesOf((object.store as FakeStore).seed(object.stored.path), 0, object.size))).toBe(
      0,
    );
  } finally {
    span.release();
  }
}

async function written(cache: BlockCache): Promise<void> {
  while (cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
}

const fileOf = (object: ObjectVersion, block: number): string => join(path, "millrace-v1", blockPath(object.id, block, BLOCK));

interface Told {
  readonly requests: number;
  readonly bytes: number;
  readonly admittedBytes: number;
}

async function start(blocks: number, names: string, ending: string): Promise<{ child: ChildProcess; told: Promise<Told> }> {
  const script = fileURLToPath(new URL("./cache-process.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, path, String(blocks * CHARGE), names, ending], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const told = once(child.stdout!, "data").then(([line]) => JSON.parse(String(line)) as Told);
  return { child, told };
}

async function diskUse(): Promise<number> {
  let used = 0;
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true }))
    if (entry.isFile() && entry.parentPath.includes("blocks")) used += (await stat(join(entry.parentPath, entry.name))).blocks * 512;
  return used;
}

/** Files below a folder that this process has open. */
async function openBelow(folder: string): Promise<string[]> {
  const targets = (await readdir("/proc/self/fd")).map((fd) => readlink(join("/proc/self/fd", fd)).catch(() => ""));
  return (await Promise.all(targets)).filter((target) => target.startsWith(folder));
}

describe("damaged files", () => {
  it.each([
    ["a flipped bit", async (file: string) => flip(file, HEADER_BYTES + 1000)],
    ["a damaged header", async (file: string) => flip(file, 41)],
    ["a truncated file", async (file: string) => truncate(file, 30_000)],
    ["an empty file", async (file: string) => truncate(file, 0)],
  ])("%s is a counted miss, and the block is held again", async (_what, damage) => {
    const store = new FakeStore();
    const cache = await cacheOf(10);
    const object = store.object("a", 3 * BLOCK);
    await read(cache, object);
    await written(cache);
    await damage(fileOf(object, 1));
    await read(cache, object);
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ checksumMisses: 1, heldBytes: 3 * BLOCK, chargedBytes: 3 * CHARGE });
    await read(cache, object);
    expect(store.ranges.map(({ begin, end }) => [begin, end])).toEqual([
      [0, 3 * BLOCK],
      [BLOCK, 2 * BLOCK],
    ]);
  });

  it("a block under another's name is not served", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(10);
    const [a, b] = [store.object("a", BLOCK), store.object("b", BLOCK)];
    await read(cache, a);
    await read(cache, b);
    await written(cache);
    await cp(fileOf(a, 0), fileOf(b, 0));
    await read(cache, b);
    expect(cache.stats().disk.checksumMisses).toBe(1);
  });

  it("files that vanished are fetched again and do not count any more", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(10);
    const object = store.object("a", 2 * BLOCK);
    await read(cache, object);
    await written(cache);
    await rm(fileOf(object, 0));
    await read(cache, object);
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ vanished: 1, heldBytes: 2 * BLOCK, chargedBytes: 2 * CHARGE });
  });

  it.runIf(process.platform === "linux")("leave no file open, nor do sound ones", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(10);
    const object = store.object("a", 5 * BLOCK);
    await read(cache, object);
    await written(cache);
    await truncate(fileOf(object, 0), 30_000);
    await flip(fileOf(object, 1), HEADER_BYTES + 1000);
    await rm(fileOf(object, 2));
    // Can be opened, and not read.
    await rm(fileOf(object, 3));
    await mkdir(fileOf(object, 3));
    await read(cache, object);
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ checksumMisses: 2, vanished: 2, errors: { EISDIR: expect.any(Number) } });
    expect(await openBelow(path)).toEqual([]);
  });

  it("a ledger that cannot be read is made anew from what the scan found", async () => {
    const store = new FakeStore();
    const first = await cacheOf(4);
    const object = store.object("a", 3 * BLOCK);
    await read(first, object);
    await first.close();
    await writeFile(join(path, "millrace-v1/ledger.json"), "{ not json");
    const second = await cacheOf(4);
    await second.disk!.scanned();
    const more = store.object("b", 3 * BLOCK);
    second.refer(object);
    second.refer(more);
    await read(second, more);
    await written(second);
    expect(second.cachedBytes(more)).toBe(BLOCK);
  });
});

describe("files of others", () => {
  it("are left alone, and so are living processes' temporary files", async () => {
    const store = new FakeStore();
    const first = await cacheOf(4);
    const root = join(path, "millrace-v1");
    const mine = ["notes.txt", "millrace-v1/blocks/00/README", "millrace-v1/tmp/scratch", "millrace-v1/meta/11/x"].map((name) =>
      join(path, name),
    );
    for (const folder of ["blocks/00", "meta/11"]) await mkdir(join(root, folder), { recursive: true });
    for (const name of mine) await writeFile(name, "mine");
    const alive = (await readdir(join(root, "procs")))[0]!;
    await writeFile(join(root, "tmp", `${alive}-77`), "being written");
    await writeFile(join(root, "tmp", "1-0123456789ab-3"), "left by a dead one");
    const second = await cacheOf(4);
    await second.disk!.scanned();
    expect(second.stats().disk).toMatchObject({ foreignFiles: 2, staleFilesRemoved: 1, chargedBytes: 0 });
    await read(second, store.object("a", 4 * BLOCK));
    await second.evict(() => true);
    for (const name of mine) expect(await readFile(name, "utf8")).toBe("mine");
    expect(await readdir(join(root, "tmp"))).toEqual(expect.arrayContaining([`${alive}-77`, "scratch"]));
    expect(await readdir(join(root, "tmp"))).not.toContain("1-0123456789ab-3");
    await first.close();
  });
});

describe("a directory that fails", () => {
  it("is refused when it cannot be written, naming the option", async () => {
    await writeFile(join(path, "file"), "");
    await expect(cacheOf(4, undefined, join(path, "file"))).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("cache.disk[0].path"),
    });
  });

  it("is refused to a user who may not write it, and used by one who may", async () => {
    if (process.getuid?.() !== 0) return;
    await mkdir(join(path, "closed"), { mode: 0o555 });
    await mkdir(join(path, "open"));
    await chmod(join(path, "open"), 0o777);
    await chmod(path, 0o755);
    const store = new FakeStore();
    process.seteuid!(65_534);
    try {
      await expect(cacheOf(4, undefined, join(path, "closed"))).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
      const cache = await cacheOf(4, undefined, join(path, "open"));
      await read(cache, store.object("a", 2 * BLOCK));
      await cache.close();
      expect(cache.stats().disk).toMatchObject({ writes: 2, errors: {} });
    } finally {
      process.seteuid!(0);
    }
  });

  it("costs readers nothing but speed, and is given up after five errors in a row", async () => {
    const store = new FakeStore();
    const said: string[] = [];
    const cache = await cacheOf(20, (message) => said.push(message));
    await cache.disk!.scanned();
    const root = join(path, "millrace-v1", "blocks");
    await rm(root, { recursive: true });
    await writeFile(root, "in the way");
    const object = store.object("a", 8 * BLOCK);
    await read(cache, object);
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ failedWrites: 8, heldBytes: 0, disabled: [{ path, reason: "ENOTDIR" }] });
    expect(cache.stats().disk.errors.ENOTDIR).toBeGreaterThanOrEqual(5);
    expect(said).toHaveLength(1);
    await read(cache, object);
    expect(store.requests).toBe(2);
    expect(cache.stats()).toMatchObject({ streamed: 8, admittedBytes: 0 });
  });
});

describe("several processes on one directory", () => {
  it("share what either wrote and keep one capacity", async () => {
    const store = new FakeStore();
    const cache = await cacheOf(24);
    const mine = ["m0", "m1"].map((name) => store.object(name, 8 * BLOCK));
    for (const object of mine) cache.refer(object);
    await read(cache, mine[0]!);
    await written(cache);
    const { child, told } = await start(24, "m0,t0,t1", "hold");
    // It finds m0 on disk and fetches the two that nobody has.
    expect(await told).toMatchObject({ bytes: 16 * BLOCK });
    const theirs = store.object("t0", 8 * BLOCK);
    await vi.waitFor(() => expect(cache.stats().disk.processes).toBe(2), IN_TIME);
    const before = store.bytes;
    await read(cache, theirs);
    expect(store.bytes).toBe(before);
    expect(cache.stats().disk.found).toBe(8);
    await read(cache, mine[1]!);
    await written(cache);
    expect(await diskUse()).toBeLessThanOrEqual(24 * CHARGE);
    expect(child.exitCode).toBeNull();
  });

  it("a writer that is killed leaves a usable cache, and its grant is taken back", async () => {
    const store = new FakeStore();
    const { child, told } = await start(40, "k0,k1,k2", "killed");
    await told;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    // A lock, a temporary file and a grant of the dead one are in the way.
    const root = join(path, "millrace-v1");
    const dead = (await readdir(join(root, "procs")))[0]!;
    await writeFile(join(root, "ledger.lock"), await readFile(join(root, "procs", dead)));
    await writeFile(join(root, "tmp", `${dead}-999`), "half a block");
    const cache = await cacheOf(40);
    await cache.disk!.scanned();
    for (const name of ["k0", "k1", "k2"]) {
      const object = store.object(name, 8 * BLOCK);
      cache.refer(object);
      await read(cache, object);
    }
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ heldBytes: 24 * BLOCK, checksumMisses: 0, lockTakeovers: 1, lockTimeouts: 0 });
    expect(await readdir(join(root, "tmp"))).toEqual([]);
    expect(await readdir(join(root, "procs"))).toHaveLength(1);
    const ledger = JSON.parse(await readFile(join(root, "ledger.json"), "utf8"));
    expect(Object.keys(ledger.grants)).toHaveLength(1);
    await cache.close();
    expect(JSON.parse(await readFile(join(root, "ledger.json"), "utf8"))).toEqual({ used: 24 * CHARGE, grants: {} });
  });

  it("an empty lock that nobody touches is taken over by its age", async () => {
    const store = new FakeStore();
    const first = await cacheOf(4);
    await first.close();
    const lock = join(path, "millrace-v1", "ledger.lock");
    await writeFile(lock, "");
    const past = new Date(Date.now() - 60_000);
    await utimes(lock, past, past);
    const cache = await cacheOf(4);
    await read(cache, store.object("a", BLOCK));
    await written(cache);
    expect(cache.stats().disk).toMatchObject({ lockTakeovers: 1, writes: 1 });
  });
});

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] = bytes[at]! ^ 1;
  await writeFile(file, bytes);
}
