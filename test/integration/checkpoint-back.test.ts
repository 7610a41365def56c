/** Checkpoints saved to the disk of a cache directory and uploaded later: what is read meanwhile, in which order, and what is left when it fails. */
import { type FileHandle, mkdtemp, open as openFile, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Millrace, type MillraceOptions, type NamedTensor, openMillrace, type Progress } from "../../src/index.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";
import { runScript } from "../support/script-process.js";

const MIB = 2 ** 20;
let origin: Origin;
let folder: string;
let disk: string;
const mills: Millrace[] = [];
const logged: string[] = [];
const log = (_: object, message: string) => void logged.push(message);
const open = async (options: MillraceOptions & { capacity?: string } = {}): Promise<Millrace> => {
  const { capacity = "200MiB", ...rest } = options;
  const cache = { memory: "64MiB", disk: [{ path: disk, capacity }] };
  const mounts = { "/ckpt": { uri: "s3://data/ckpt", admission: "lru" as const } };
  const logger = { debug: log, info: log, warn: log, error: log };
  mills.push(await openMillrace({ engine: "inline", cache, mounts, s3: s3Options(origin), logger, ...rest }));
  return mills.at(-1)!;
};
/** What a process of another container writes into its lock. */
const OTHER = JSON.stringify({ instance: "7-abcdefabcdef", pid: 7, host: "elsewhere" });
/** A mill of another node. */
const elsewhere = () => open({ cache: { memory: "64MiB" } });
const saves = (mill: Millrace) => mill.stats().saves!;
const spooled = async () => (await readdir(join(disk, "millrace-v1", "saves"))).sort();
const kinds = async () => (await origin.stats()).kinds;
const paths = async (mill: Millrace, prefix: string) => {
  const all: string[] = [];
  for await (const { path } of mill.list(prefix)) all.push(path);
  return all;
};
const big = (seed: number): NamedTensor[] => [
  { name: "a", dtype: "U8", shape: [12 * MIB], data: drawnBytes(12 * MIB, seed) },
  { name: "b", dtype: "F32", shape: [5, 1000], data: new Float32Array(drawnBytes(20_000, seed).buffer) },
];
const small = (value: number): NamedTensor[] => [{ name: "w", dtype: "F32", shape: [2], data: Float32Array.of(value, 1) }];
async function expectSaved(mill: Millrace, path: string, saved: readonly NamedTensor[]) {
  const loaded = await (await mill.checkpoint(path)).load();
  expect([...loaded.keys()].sort()).toEqual(saved.map(({ name }) => name).sort());
  for (const { name, data } of saved)
    expect(Buffer.compare(loaded.get(name)!.bytes, Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toBe(0);
}

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
beforeEach(async () => {
  disk = await mkdtemp(join(folder, "disk-"));
  logged.length = 0;
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterEach(async () => {
  await origin.clearFaults();
  await origin.shape({});
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
});
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each(["inline", "worker"] as const)("back, engine %s", (engine) => {
  test("it is read from the disk until it is uploaded, and from the cache after that", async () => {
    const mill = await open({ engine });
    const path = `/ckpt/${engine}/step-1.safetensors`;
    await origin.shape({ firstByteMs: 400 });
    const seen: Progress[] = [];
    const info = await mill.saveCheckpoint(path, big(1), { write: "back", onProgress: (now) => seen.push(now) });
    expect(seen.at(-1)).toMatchObject({ bytes: info.size, totalBytes: info.size, objects: 1 });
    expect(saves(mill)).toMatchObject({ back: 1, pending: 1, pendingBytes: info.size, uploaded: 0 });
    expect(await mill.stat(path)).toEqual(info);
    expect(await mill.stat(path)).toMatchObject({ path, lastModified: expect.any(Date) });
    expect((await spooled()).map((name) => name.replace(/^.*-\d+\./, "."))).toEqual([".data", ".json", ".lock"].sort());
    const opened = await mill.checkpoint(path);
    await expectSaved(mill, path, big(1));
    expect(await paths(mill, `/ckpt/${engine}`)).toEqual([path]);
    const copy = await mill.materialize(path);
    expect(await readFile(copy.path)).toHaveLength(info.size);
    await copy.release();
    expect((await kinds()).get).toBe(0);
    await mill.flush();
    expect(saves(mill)).toMatchObject({ pending: 0, pendingBytes: 0, uploaded: 1, failed: 0, bytes: info.size });
    expect(await spooled()).toEqual([]);
    await origin.shape({});
    await origin.reset();
    const stored = await mill.stat(path);
    expect(stored.etag).not.toBe(info.etag);
    await expectSaved(mill, path, big(1));
    // What was opened before goes on.
    expect(Buffer.compare((await opened.tensor("a")).bytes, big(1)[0]!.data as Uint8Array)).toBe(0);
    expect((await kinds()).get).toBe(0);
    const other = await elsewhere();
    expect(await other.stat(path)).toMatchObject({ size: info.size, etag: stored.etag });
    await expectSaved(other, path, big(1));
  });
});

test("the room on the disk is given back", async () => {
  const mill = await open();
  await mill.saveCheckpoint("/ckpt/room.safetensors", big(1), { write: "back" });
  await mill.flush();
  const { heldBytes, chargedBytes } = mill.stats().disk as { heldBytes: number; chargedBytes: number };
  expect(heldBytes).toBeGreaterThan(12 * MIB);
  expect(chargedBytes).toBeLessThan(heldBytes * 1.02);
});

test("saves of one name are uploaded in order, and a later one through waits for them", async () => {
  const mill = await open();
  const path = "/ckpt/ordered.safetensors";
  await origin.failNext(2, 503, { kind: "put" });
  const all = [
    mill.saveCheckpoint(path, big(1), { write: "back" }),
    mill.saveCheckpoint(path, small(2), { write: "back" }),
    mill.saveCheckpoint(path, small(3), { write: "through" }),
    mill.saveCheckpoint(path, small(4), { write: "back" }),
  ];
  await Promise.all(all);
  await expectSaved(mill, path, small(4));
  await mill.flush();
  await expectSaved(mill, path, small(4));
  await expectSaved(await elsewhere(), path, small(4));
  expect(saves(mill)).toMatchObject({ through: 1, back: 3, uploaded: 3 });
});

test("shards, their index last; the older ones go when it is uploaded", async () => {
  const mill = await open();
  const first = await mill.saveCheckpoint("/ckpt/s/s-1.safetensors", big(1), { write: "back", maxShardBytes: "1MiB" });
  await mill.flush();
  await origin.shape({ firstByteMs: 200 });
  const { path } = await mill.saveCheckpoint("/ckpt/s/s-2.safetensors", big(2), { write: "back", maxShardBytes: "1MiB", keep: 1 });
  expect(await paths(mill, "/ckpt/s")).toHaveLength(6);
  await expectSaved(mill, path, big(2));
  await expectSaved(mill, first.path, big(1));
  await mill.flush();
  expect((await paths(mill, "/ckpt/s")).filter((name) => !name.startsWith("/ckpt/s/s-2"))).toEqual([]);
  await expectSaved(await elsewhere(), path, big(2));
});

test.each([false, true])("one that is saved in its other form is seen so before it is uploaded, first in shards: %s", async (sharded) => {
  const mill = await open();
  const save = (value: number, inShards: boolean, write: "through" | "back") =>
    mill.saveCheckpoint("/ckpt/forms/m.safetensors", small(value), { write, ...(inShards && { maxShardBytes: 8 }) });
  const before = await save(1, sharded, "through");
  await origin.shape({ deny: ["data/ckpt/forms"] });
  const expectNew = async (value: number, name: string) => {
    await expectSaved(mill, "/ckpt/forms/m.safetensors", small(value));
    await expect(mill.stat(name)).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await expect(mill.readFile(name)).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  };
  const between = await save(2, !sharded, "back");
  await expectNew(2, before.path);
  // Of two that are pending the later one stands.
  await save(3, sharded, "back");
  await expectNew(3, between.path);
  const listed = await paths(mill, "/ckpt/forms");
  expect([listed.includes(before.path), listed.includes(between.path)]).toEqual([true, false]);
  await origin.shape({});
  await mill.flush();
  await expectSaved(await elsewhere(), "/ckpt/forms/m.safetensors", small(3));
});

describe("a disk that cannot take it", () => {
  test("no room: it is saved through, and that is said", async () => {
    const mill = await open({ capacity: "8MiB" });
    const info = await mill.saveCheckpoint("/ckpt/full.safetensors", big(1), { write: "back" });
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 1, back: 0, pending: 0 });
    expect(logged).toContain("The disk cannot take a checkpoint: it is saved to its origin at once");
    expect(await spooled()).toEqual([]);
    expect(await (await elsewhere()).stat(info.path)).toMatchObject({ size: info.size, etag: info.etag });
  });

  test("no room: a save of the same name that was asked for later still comes later", async () => {
    const mill = await open({ capacity: "8MiB" });
    const first = mill.saveCheckpoint("/ckpt/full-order.safetensors", big(1), { write: "back" });
    await Promise.all([first, mill.saveCheckpoint("/ckpt/full-order.safetensors", small(2))]);
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 2 });
    await expectSaved(await elsewhere(), "/ckpt/full-order.safetensors", small(2));
  });

  test("it fills up midway: the same, from the first byte on, and what was written is removed", async () => {
    const mill = await open();
    const file = await openFile(join(disk, "probe"), "w");
    const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    const { write } = Object.getPrototypeOf(file) as { write: (...args: unknown[]) => Promise<unknown> };
    const spy = vi.spyOn(Object.getPrototypeOf(file) as { write: typeof write }, "write");
    spy.mockImplementationOnce(function (this: unknown, ...args) {
      return write.apply(this, args);
    });
    spy.mockRejectedValueOnce(full);
    await mill.saveCheckpoint("/ckpt/midway.safetensors", big(1), { write: "back" });
    spy.mockRestore();
    await file.close();
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 1, back: 0 });
    expect(await spooled()).toEqual([]);
    expect(mill.stats().disk!.chargedBytes as number).toBeLessThan((mill.stats().disk!.heldBytes as number) * 1.02);
    await expectSaved(await elsewhere(), "/ckpt/midway.safetensors", big(1));
  });

  test("it cannot make the journal last: the same", async () => {
    const mill = await open();
    const probe = await openFile(join(disk, "probe"), "w");
    const handles = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    const { sync } = handles;
    const spy = vi.spyOn(handles, "sync").mockImplementation(async function (this: FileHandle) {
      if ((await this.stat()).isDirectory()) throw Object.assign(new Error("i/o error, fsync"), { code: "EIO" });
      await sync.call(this);
    });
    await mill.saveCheckpoint("/ckpt/unsynced.safetensors", small(1), { write: "back" });
    spy.mockRestore();
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 1, back: 0 });
    expect(await spooled()).toEqual([]);
    await expectSaved(await elsewhere(), "/ckpt/unsynced.safetensors", small(1));
  });

  /** Runs the save while `then` comes about as its data, or the folder with its journal, is made last. */
  async function whenSynced(of: "file" | "folder", then: () => Promise<void>, save: () => Promise<unknown>): Promise<void> {
    const probe = await openFile(join(disk, "probe"), "w");
    const handles = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    const { sync } = handles;
    const spy = vi.spyOn(handles, "sync").mockImplementation(async function (this: FileHandle) {
      await sync.call(this);
      if ((await this.stat()).isDirectory() !== (of === "folder")) return;
      spy.mockRestore();
      await then();
    });
    await save();
    spy.mockRestore();
  }

  test("another process takes it over before its journal is there, and removes it: the same, and no journal is left", async () => {
    const mill = await open();
    const takeOver = async () => {
      const saved = join(disk, "millrace-v1", "saves");
      const names = await spooled();
      await rm(join(saved, names.find((name) => name.endsWith(".data"))!));
      await writeFile(join(saved, names.find((name) => name.endsWith(".lock"))!), OTHER);
    };
    await whenSynced("file", takeOver, () => mill.saveCheckpoint("/ckpt/stood.safetensors", small(1), { write: "back" }));
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 1, back: 0 });
    expect((await spooled()).filter((name) => !name.endsWith(".lock"))).toEqual([]);
    await expectSaved(await elsewhere(), "/ckpt/stood.safetensors", small(1));
  });

  test("an abort while its journal is made last: nothing is left, and nothing uploaded", async () => {
    const mill = await open();
    const stop = new AbortController();
    const saving = () => mill.saveCheckpoint("/ckpt/aborted.safetensors", small(1), { write: "back", signal: stop.signal });
    const abort = async () => stop.abort();
    await expect(whenSynced("folder", abort, saving)).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect.poll(spooled, IN_TIME).toEqual([]);
    expect(saves(mill)).toMatchObject({ back: 0, through: 0, uploaded: 0 });
    await expect((await elsewhere()).stat("/ckpt/aborted.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });

  test("a folder that is gone: the same, without waiting for the disk to be given up", async () => {
    const mill = await open();
    await rm(join(disk, "millrace-v1", "saves"), { recursive: true });
    await mill.saveCheckpoint("/ckpt/gone.safetensors", big(1), { write: "back" });
    expect(saves(mill)).toMatchObject({ noSpace: 1, through: 1 });
    await expectSaved(await elsewhere(), "/ckpt/gone.safetensors", big(1));
  });
});

describe("an upload that fails for good", () => {
  test("is told by flush, stats and log; the copy stays, is read, and the next mill uploads it", async () => {
    const mill = await open();
    await mill.saveCheckpoint("/ckpt/f/s-1.safetensors", small(1));
    await origin.shape({ deny: ["data/ckpt/f"] });
    await mill.saveCheckpoint("/ckpt/f/s-2.safetensors", small(2), { write: "back", keep: 1 });
    await expect(mill.flush()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION", message: expect.stringContaining("/ckpt/f/s-2") });
    expect(saves(mill)).toMatchObject({ failed: 1, pending: 0, uploaded: 0, removed: 0 });
    expect(logged).toContain(
      "A saved checkpoint could not be uploaded: it stays in the cache directory, and is tried again by flush() and by the next mill",
    );
    await expectSaved(mill, "/ckpt/f/s-2.safetensors", small(2));
    await mill.close();
    await origin.shape({});
    const next = await open();
    await next.flush();
    expect(saves(next)).toMatchObject({ uploaded: 1, failed: 0, removed: 1 });
    expect(await spooled()).toEqual([]);
    expect(await paths(await elsewhere(), "/ckpt/f")).toEqual(["/ckpt/f/s-2.safetensors"]);
  });

  /** Saves of these names whose upload is refused, one after the other. */
  async function refused(mill: Millrace, ...saved: (readonly [path: string, value: number])[]): Promise<void> {
    await origin.failNext(saved.length, "AccessDenied", { kind: "put" });
    for (const [path, value] of saved) await mill.saveCheckpoint(path, small(value), { write: "back" });
    await expect.poll(() => saves(mill), IN_TIME).toMatchObject({ failed: saved.length, pending: 0 });
  }

  test("is tried again by flush, in the order of the saves", async () => {
    const mill = await open();
    await refused(mill, ["/ckpt/again.safetensors", 1], ["/ckpt/again.safetensors", 2]);
    await mill.flush();
    expect(saves(mill)).toMatchObject({ uploaded: 2, failed: 0, pending: 0, pendingBytes: 0 });
    expect(await spooled()).toEqual([]);
    await expectSaved(await elsewhere(), "/ckpt/again.safetensors", small(2));
  });

  test("fails again by the same reason: flush says so again", async () => {
    const mill = await open();
    await refused(mill, ["/ckpt/twice.safetensors", 1]);
    await origin.failNext(1, "AccessDenied", { kind: "put" });
    await expect(mill.flush()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    expect(saves(mill)).toMatchObject({ uploaded: 0, failed: 1 });
  });

  test.each(["through", "back"] as const)("is tried again once a save to its origin was taken, %s", async (write) => {
    const mill = await open();
    await refused(mill, [`/ckpt/${write}/first.safetensors`, 1]);
    await mill.saveCheckpoint(`/ckpt/${write}/other.safetensors`, small(2), { write });
    await expect.poll(() => saves(mill), IN_TIME).toMatchObject({ failed: 0, pending: 0 });
    await expectSaved(await elsewhere(), `/ckpt/${write}/first.safetensors`, small(1));
  });

  test("is not brought back over a save that comes while it waits to be tried again", async () => {
    const mill = await open();
    await refused(mill, ["/ckpt/waits.safetensors", 1]);
    await origin.shape({ firstByteMs: 200 });
    const newer = mill.saveCheckpoint("/ckpt/waits.safetensors", small(2));
    await expect.poll(async () => (await kinds()).put, IN_TIME).toBe(2);
    await mill.flush();
    await newer;
    expect(saves(mill)).toMatchObject({ uploaded: 0, failed: 0, through: 1 });
    await expectSaved(await elsewhere(), "/ckpt/waits.safetensors", small(2));
  });

  test("takes its shards with it once the name was saved anew", async () => {
    const mill = await open();
    const path = "/ckpt/left/m.safetensors";
    // The index alone is put whole: the shard has more than one part.
    await origin.failNext(1, "AccessDenied", { kind: "put" });
    await mill.saveCheckpoint(path, big(1).slice(0, 1), { write: "back", maxShardBytes: 1 });
    await expect.poll(() => saves(mill), IN_TIME).toMatchObject({ failed: 1, pending: 0 });
    expect(await paths(await elsewhere(), "/ckpt/left")).toHaveLength(1);
    await mill.saveCheckpoint(path, small(2));
    await mill.flush();
    expect(await paths(await elsewhere(), "/ckpt/left")).toEqual([path]);
  });

  test("is of no use any more once the name was saved anew", async () => {
    const mill = await open();
    await refused(mill, ["/ckpt/anew.safetensors", 1]);
    await mill.saveCheckpoint("/ckpt/anew.safetensors", small(2));
    await mill.flush();
    expect(await spooled()).toEqual([]);
    await expectSaved(mill, "/ckpt/anew.safetensors", small(2));
  });
});

test("an upload that another process has taken over meanwhile is not completed", async () => {
  const mill = await open();
  await origin.shape({ firstByteMs: 300 });
  await mill.saveCheckpoint("/ckpt/taken.safetensors", big(1), { write: "back" });
  const lock = (await spooled()).find((name) => name.endsWith(".lock"))!;
  await writeFile(join(disk, "millrace-v1", "saves", lock), OTHER);
  await mill.flush();
  expect(saves(mill)).toMatchObject({ pending: 0, uploaded: 0, failed: 0 });
  await origin.shape({});
  await expect(mill.stat("/ckpt/taken.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  await mill.close();
  expect(await spooled()).toHaveLength(3);
});

test.each(["inline", "worker"] as const)(
  "a program that comes to its end without a flush ends when all is uploaded, engine %s",
  async (engine) => {
    const path = `/ckpt/ended-${engine}.safetensors`;
    const mounts = { "/ckpt": "s3://data/ckpt" };
    const options = { engine, mounts, s3: s3Options(origin), cache: { memory: "64MiB", disk: [{ path: disk, capacity: "64MiB" }] } };
    await origin.shape({ firstByteMs: 300 });
    const script = new URL("./fixtures/back-save-script.ts", import.meta.url);
    expect(await runScript(script, [JSON.stringify(options), path])).toEqual({ code: 0, lines: ["reached the end"] });
    expect((await spooled()).filter((name) => !name.endsWith(".lock"))).toEqual([]);
    expect(await (await elsewhere()).stat(path)).toMatchObject({ path });
  },
);

describe("what an earlier mill has left", () => {
  /** Leaves a save that was not uploaded; resolves to the path of its data, without the ending. */
  async function leave(path: string, tensors: NamedTensor[]): Promise<string> {
    const mill = await open();
    await origin.failNext(1000, "AccessDenied", { kind: "put" });
    await origin.failNext(1000, "AccessDenied", { kind: "multipart" });
    await mill.saveCheckpoint(path, tensors, { write: "back" });
    await mill.flush().catch(() => {});
    await mill.close();
    await origin.clearFaults();
    const names = await spooled();
    expect(names).toHaveLength(2); // Nobody's lock.
    return join(disk, "millrace-v1", "saves", names[0]!.replace(/-\d+\.data$/, ""));
  }

  test("a closed mill takes uploads back that do not end soon, and the next one goes on", async () => {
    const mill = await open();
    await origin.failNext(1000, "hang", { kind: "multipart" });
    await mill.saveCheckpoint("/ckpt/hung.safetensors", big(1), { write: "back" });
    await expect.poll(async () => (await kinds()).multipart, IN_TIME).toBeGreaterThan(0);
    await mill.close();
    await origin.clearFaults();
    const next = await open();
    await expectSaved(next, "/ckpt/hung.safetensors", big(1));
    await next.flush();
    await expectSaved(await elsewhere(), "/ckpt/hung.safetensors", big(1));
  }, 30_000);

  test("is whole at its origin: then only what it has replaced is removed", async () => {
    const first = await open();
    const { path } = await first.saveCheckpoint("/ckpt/replaced/m.safetensors", small(1), { maxShardBytes: 8 });
    const before = await paths(first, "/ckpt/replaced");
    await origin.failNext(1000, "hang", { kind: "delete" });
    await first.saveCheckpoint(path, big(2), { write: "back" });
    await expect.poll(async () => (await kinds()).delete, IN_TIME).toBeGreaterThan(0);
    await first.close();
    expect(await spooled()).toHaveLength(3);
    await origin.clearFaults();
    await origin.reset();
    const next = await open();
    await next.flush();
    expect(await kinds()).toMatchObject({ put: 0, multipart: 0 });
    expect(await spooled()).toEqual([]);
    const other = await elsewhere();
    expect((await paths(other, "/ckpt/replaced")).filter((one) => before.includes(one))).toEqual([path]);
    await expectSaved(other, path, big(2));
  }, 60_000);

  test("is read before it is uploaded", async () => {
    await leave("/ckpt/left.safetensors", big(1));
    await origin.shape({ firstByteMs: 300 });
    const mill = await open();
    await expectSaved(mill, "/ckpt/left.safetensors", big(1));
    expect((await kinds()).get).toBe(0);
    await mill.flush();
    expect(saves(mill)).toMatchObject({ uploaded: 1 });
  });

  test("is uploaded in the order in which it was asked for, not in that in which it came to the disk", async () => {
    const mill = await open();
    await origin.failNext(1000, "AccessDenied", { kind: "put" });
    await origin.failNext(1000, "AccessDenied", { kind: "multipart" });
    const ended: number[] = [];
    const save = (n: number, tensors: NamedTensor[]) =>
      mill.saveCheckpoint("/ckpt/order.safetensors", tensors, { write: "back" }).then(() => ended.push(n));
    // It takes far longer to come to the disk.
    const large: NamedTensor[] = [{ name: "a", dtype: "U8", shape: [150 * MIB], data: new Uint8Array(150 * MIB) }];
    await Promise.all([save(1, large), save(2, small(2))]);
    expect(ended).toEqual([2, 1]);
    await mill.flush().catch(() => {});
    await mill.close();
    await origin.clearFaults();
    const next = await open();
    await expectSaved(next, "/ckpt/order.safetensors", small(2));
    await next.flush();
    await expectSaved(await elsewhere(), "/ckpt/order.safetensors", small(2));
  });

  test("is one mill's to upload, whoever else opens the directory", async () => {
    await leave("/ckpt/shared.safetensors", big(1));
    await origin.reset();
    await origin.shape({ firstByteMs: 200 });
    const [a, b] = await Promise.all([open(), open()]);
    await Promise.all([a.flush(), b.flush()]);
    expect((saves(a).uploaded as number) + (saves(b).uploaded as number)).toBe(1);
    expect(await spooled()).toEqual([]);
  });

  test("a damaged copy is not uploaded", async () => {
    const file = `${await leave("/ckpt/damaged.safetensors", big(1))}-0.data`;
    const bytes = await readFile(file);
    bytes[9 * MIB]! ^= 1;
    await writeFile(file, bytes);
    const mill = await open();
    // Its header is whole: what is wrong is found all the same, before any of it is used.
    await expect(mill.checkpoint("/ckpt/damaged.safetensors")).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
    await expect(mill.readFile("/ckpt/damaged.safetensors", { end: 8 })).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
    await expect(mill.flush()).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
    await expect((await elsewhere()).stat("/ckpt/damaged.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await writeFile(file, bytes.subarray(0, 10 * MIB));
    await mill.close();
    await expect((await open()).flush()).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
  });

  test("a damaged training state is passed over, and that is said", async () => {
    const run = (step: number) => ({ tensors: small(step), extra: { step } });
    await (await elsewhere()).saveTrainingState("/ckpt/states", run(1));
    const mill = await open();
    await origin.failNext(1000, "AccessDenied", { kind: "put" });
    const { path } = await mill.saveTrainingState("/ckpt/states", run(2), { write: "back" });
    await mill.flush().catch(() => {});
    await mill.close();
    const [data] = (await spooled()).filter((name) => name.endsWith(".data"));
    const file = join(disk, "millrace-v1", "saves", data!);
    const bytes = await readFile(file);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(file, bytes);
    const latest = await (await open()).loadLatest("/ckpt/states");
    expect(latest).toMatchObject({ extra: { step: 1 }, skipped: [{ path, reason: expect.stringContaining(data!) }] });
  });

  test("data without a journal is removed, with an unknown journal it stays, and flush says so", async () => {
    const save = await leave("/ckpt/odd.safetensors", small(1));
    await writeFile(`${save}.json`, '{"version":2}');
    const half = join(disk, "millrace-v1", "saves", "1-0123456789ab-0-0.data");
    await writeFile(half, "half");
    const mill = await open();
    await expect(mill.flush()).rejects.toMatchObject({ code: "MILLRACE_CORRUPT", message: expect.stringContaining(`${save}.json`) });
    expect(saves(mill)).toMatchObject({ failed: 1 });
    expect(logged).toContain("A saved checkpoint cannot be uploaded by this mill: it stays in the cache directory");
    expect(await spooled()).toHaveLength(2);
    await expect(readFile(half)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(mill.stat("/ckpt/odd.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });

  test("a name that was saved elsewhere meanwhile keeps the newer version", async () => {
    const save = await leave("/ckpt/newer.safetensors", small(1));
    const journal = JSON.parse(await readFile(`${save}.json`, "utf8"));
    await writeFile(`${save}.json`, JSON.stringify({ ...journal, savedMs: journal.savedMs - 3_600_000 }));
    await (await elsewhere()).saveCheckpoint("/ckpt/newer.safetensors", small(2));
    const mill = await open();
    await mill.flush();
    await expectSaved(mill, "/ckpt/newer.safetensors", small(2));
    expect(await spooled()).toEqual([]);
    expect(logged).toContain("A checkpoint was saved anew elsewhere before an older one was uploaded: the newer one stays");
  });

  test.each(["the same mill", "the next one"])(
    "is not taken for outrun by an earlier save of its name that was uploaded as late, before %s uploads it",
    async (who) => {
      const path = `/ckpt/late/${who.replaceAll(" ", "-")}.safetensors`;
      const mill = await open();
      const denied = async (...kinds: ("put" | "multipart")[]) => {
        await origin.clearFaults();
        for (const kind of kinds) await origin.failNext(1000, "AccessDenied", { kind });
      };
      await denied("put", "multipart");
      await mill.saveCheckpoint(path, big(1), { write: "back" });
      await mill.saveCheckpoint(path, small(2), { write: "back" });
      await expect(mill.flush()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
      await mill.close();
      for (const name of (await spooled()).filter((one) => one.endsWith(".json"))) {
        const file = join(disk, "millrace-v1", "saves", name);
        const journal = JSON.parse(await readFile(file, "utf8"));
        await writeFile(file, JSON.stringify({ ...journal, savedMs: journal.savedMs - 3_600_000 }));
      }
      await denied("put");
      let next = await open();
      await expect(next.flush()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
      expect(saves(next)).toMatchObject({ uploaded: 1, failed: 1 });
      await denied();
      if (who === "the next one") {
        await next.close();
        next = await open();
      }
      await next.flush();
      expect(await spooled()).toEqual([]);
      await expectSaved(await elsewhere(), path, small(2));
    },
  );

  test("whose data is gone is said, once, and does not hold up later saves of its name", async () => {
    await rm(`${await leave("/ckpt/lost.safetensors", small(1))}-0.data`);
    const mill = await open();
    await mill.flush();
    await expect
      .poll(() => logged, IN_TIME)
      .toContain("The local copy of a saved checkpoint is gone, and was not uploaded: its journal is removed");
    expect(await spooled()).toEqual([]);
    await mill.saveCheckpoint("/ckpt/lost.safetensors", small(2));
    await expectSaved(mill, "/ckpt/lost.safetensors", small(2));
  });

  test("with the lock of a container that is gone is read at once, and uploaded when the lock is old enough", async () => {
    const lock = `${await leave("/ckpt/locked.safetensors", small(1))}.lock`;
    await writeFile(lock, OTHER);
    const now = Date.now;
    const touched = now() / 1000 - 3;
    await utimes(lock, touched, touched);
    const mill = await open();
    await expectSaved(mill, "/ckpt/locked.safetensors", small(1));
    expect(await readFile(lock, "utf8")).toBe(OTHER);
    const later = vi.spyOn(Date, "now").mockImplementation(() => now() + 8_000);
    await mill.flush();
    later.mockRestore();
    expect(saves(mill)).toMatchObject({ pending: 0, uploaded: 1 });
    expect(await spooled()).toEqual([]);
    await expectSaved(await elsewhere(), "/ckpt/locked.safetensors", small(1));
  });

  test("with a lock that its holder still touches is its holder's", async () => {
    const lock = `${await leave("/ckpt/living.safetensors", small(1))}.lock`;
    await writeFile(lock, OTHER);
    const touching = setInterval(() => void utimes(lock, new Date(), new Date()), 100);
    const mill = await open();
    await mill.flush();
    clearInterval(touching);
    expect(saves(mill)).toMatchObject({ pending: 0, uploaded: 0, failed: 0 });
    expect(await spooled()).toHaveLength(3);
    await expect(mill.stat("/ckpt/living.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });

  test("of a mount that leads elsewhere by now it stays", async () => {
    await leave("/ckpt/moved.safetensors", small(1));
    const mill = await open({ mounts: { "/ckpt": "s3://data/other" } });
    await expect(mill.flush()).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("/ckpt/moved.safetensors"),
    });
    expect(saves(mill)).toMatchObject({ failed: 1, pending: 0 });
    expect(await spooled()).toHaveLength(2);
    expect(logged).toContain("A saved checkpoint cannot be uploaded by this mill: it stays in the cache directory");
    const right = await open();
    await right.flush();
    await mill.flush(); // What it could not upload is uploaded.
    expect(saves(mill)).toMatchObject({ failed: 0 });
    await expectSaved(await elsewhere(), "/ckpt/moved.safetensors", small(1));
  });
});
