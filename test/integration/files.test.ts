/** Whole objects through the mill: read, written, listed, copied, dropped; requests counted at the origin. */
import { access, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace, type Progress } from "../../src/index.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const MIB = 2 ** 20;
const LARGE = 20 * MIB + 12_345; // Three parts, the last one short.

let origin: Origin;
let folder: string;
const large = drawnBytes(LARGE);
const mills: Millrace[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  const mounts = { "/m": "s3://data/root", "/fixed": { uri: "s3://data/root", readOnly: true }, ...options.mounts };
  mills.push(await openMillrace({ engine: "inline", cache: { memory: "64MiB" }, s3: s3Options(origin), ...options, mounts }));
  return mills.at(-1)!;
};
const paths = async (list: AsyncIterable<{ path: string }>) => {
  const all: string[] = [];
  for await (const { path } of list) all.push(path);
  return all;
};
const kinds = async () => (await origin.stats()).kinds;
async function* pieces(bytes: Uint8Array, lengths: readonly number[]) {
  const memory = new Uint8Array(4 * MIB); // Used again for every part, as a reader of a socket does.
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = Math.min(lengths[i % lengths.length]!, bytes.length - at);
    memory.set(bytes.subarray(at, at + length));
    yield memory.subarray(0, length);
    at += length;
  }
}

beforeAll(async () => {
  origin = await startOrigin();
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
beforeEach(async () => {
  await origin.put("data", "root/large.bin", large);
  await origin.put("data", "root/small.txt", Buffer.from("small"));
  await origin.put("data", "root/empty", new Uint8Array(0));
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each(["inline", "worker"] as const)("readFile, engine %s", (engine) => {
  test("whole, in ranges and from the cache the second time", async () => {
    const mill = await open({ engine });
    const seen: Progress[] = [];
    const bytes = await mill.readFile("/m/large.bin", { onProgress: (progress) => seen.push(progress) });
    expect(Buffer.compare(bytes, large)).toBe(0);
    expect(seen.at(-1)).toMatchObject({ bytes: LARGE, totalBytes: LARGE, objects: 1, totalObjects: 1 });
    expect((await origin.stats()).bytesSent).toBe(LARGE);
    await origin.reset();
    expect(Buffer.compare(await mill.readFile("/m/large.bin"), large)).toBe(0);
    for (const [begin, end] of [
      [0, 0],
      [1, 2],
      [MIB - 1, MIB + 1],
      [7 * MIB, 17 * MIB + 3],
      [LARGE, LARGE],
    ] as const)
      expect(Buffer.compare(await mill.readFile("/m/large.bin", { begin, end }), large.subarray(begin, end))).toBe(0);
    expect(Buffer.compare(await mill.readFile("/m/large.bin", { begin: LARGE - 5 }), large.subarray(-5))).toBe(0);
    expect((await origin.stats()).requests).toBe(0);
  });
});

test("readFile: an empty object, ranges that are none, a missing object, an abort", async () => {
  const mill = await open();
  expect(await mill.readFile("/m/empty")).toHaveLength(0);
  for (const range of [{ begin: -1 }, { begin: 4, end: 3 }, { end: 6 }, { begin: 0.5 }, { begin: Number.NaN }])
    await expect(mill.readFile("/m/small.txt", range)).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("begin, end"),
    });
  await expect(mill.readFile("/m/none")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  await expect(mill.readFile("/m/small.txt", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  const stop = new AbortController();
  await origin.failNext(20, "hang", { kind: "get" });
  const reading = mill.readFile("/m/large.bin", { signal: stop.signal });
  setTimeout(() => stop.abort(), 50);
  await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
});

test("open pins the version; readFile goes with the present one, though older facts are known", async () => {
  const mill = await open({ cache: { memory: 0 } });
  const file = await mill.open("/m/small.txt");
  expect(file.info).toMatchObject({ path: "/m/small.txt", size: 5 });
  const target = new Uint8Array(3);
  await file.read(1, target);
  expect(Buffer.from(target).toString()).toBe("mal");
  await expect(file.read(3, target)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  await origin.put("data", "root/small.txt", Buffer.from("other!"));
  await expect(file.read(0, target)).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
  expect(Buffer.from(target).toString()).toBe("mal");
  await origin.put("data", "root/small.txt", Buffer.from("third.."));
  // The facts of "small" and "other!" are both out of date by now.
  expect(Buffer.from(await mill.readFile("/m/small.txt")).toString()).toBe("third..");
  expect((await mill.stat("/m/small.txt")).size).toBe(7);
});

describe("writeFile", () => {
  test.each([
    ["a string", "grün", 5],
    ["bytes", large.subarray(3, 9 * MIB), 9 * MIB - 3],
    ["nothing", new Uint8Array(0), 0],
  ])("%s: reading it back makes no GET", async (_name, data, size) => {
    const mill = await open();
    const info = await mill.writeFile("/m/new/file", data);
    expect(info).toMatchObject({ path: "/m/new/file", size });
    expect(Buffer.compare(await mill.readFile("/m/new/file"), Buffer.from(data as Uint8Array))).toBe(0);
    expect(await mill.stat("/m/new/file")).toMatchObject({ size, etag: info.etag });
    expect((await kinds()).get).toBe(0);
    const other = await open();
    expect(Buffer.compare(await other.readFile("/m/new/file"), Buffer.from(data as Uint8Array))).toBe(0);
  });

  test.each(["inline", "worker"] as const)("parts of odd lengths in memory that is used again, engine %s", async (engine) => {
    const mill = await open({ engine });
    const seen: Progress[] = [];
    await mill.writeFile("/m/odd", pieces(large, [1, 3 * MIB + 1, 17, 4 * MIB, 100_001]), { onProgress: (now) => seen.push(now) });
    expect(seen.at(-1)).toMatchObject({ bytes: LARGE, objects: 1 });
    expect((await kinds()).multipart).toBeGreaterThan(0);
    expect(Buffer.compare(await mill.readFile("/m/odd"), large)).toBe(0);
    expect((await kinds()).get).toBe(0);
    const other = await open();
    expect(Buffer.compare(await other.readFile("/m/odd"), large)).toBe(0);
  });

  test("many small parts", async () => {
    const mill = await open();
    const bytes = drawnBytes(50_000);
    await mill.writeFile("/m/crumbs", pieces(bytes, [1]));
    expect(Buffer.compare(await mill.readFile("/m/crumbs"), bytes)).toBe(0);
  });

  test("overwriting: whoever looks afterwards sees the new version", async () => {
    const mill = await open();
    expect(Buffer.from(await mill.readFile("/m/small.txt")).toString()).toBe("small");
    const before = await paths(mill.list("/m"));
    expect(await mill.prefetch("/m").done).toMatchObject({ objects: before.length });
    await mill.writeFile("/m/small.txt", "overwritten");
    expect((await mill.stat("/m/small.txt")).size).toBe(11);
    expect(Buffer.from(await mill.readFile("/m/small.txt")).toString()).toBe("overwritten");
    await mill.writeFile("/m/another", "x");
    expect(await paths(mill.list("/m"))).toEqual([...before, "/m/another"].sort());
    for await (const { path, size } of mill.list("/m")) if (path === "/m/small.txt") expect(size).toBe(11);
  });

  test.each(["inline", "worker"] as const)("data that throws midway leaves the object and no upload behind, engine %s", async (engine) => {
    const mill = await open({ engine });
    for (const good of [0, 3, 12 * MIB]) {
      const failing = async function* () {
        yield* pieces(large.subarray(0, good), [MIB]);
        throw new RangeError("no more data");
      };
      await expect(mill.writeFile("/m/small.txt", failing())).rejects.toThrow(new RangeError("no more data"));
    }
    expect(Buffer.from(await mill.readFile("/m/small.txt")).toString()).toBe("small");
    expect((await origin.stats()).kinds.put).toBe(0);
  });

  test("an abort, a mount that is read-only, a store that cannot write, data that is none, a path that names nothing", async () => {
    const mill = await open({ mounts: { "/web": `http://127.0.0.1:${new URL(origin.endpoint).port}/data` } });
    const stop = new AbortController();
    let returned = false;
    const endless = async function* () {
      try {
        for (;;) {
          yield large.subarray(0, MIB);
          if (!stop.signal.aborted) stop.abort();
        }
      } finally {
        returned = true;
      }
    };
    await expect(mill.writeFile("/m/small.txt", endless(), { signal: stop.signal })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect.poll(() => returned, IN_TIME).toBe(true);
    expect(Buffer.from(await mill.readFile("/m/small.txt")).toString()).toBe("small");
    await expect(mill.writeFile("/fixed/small.txt", "x")).rejects.toMatchObject({
      code: "MILLRACE_PERMISSION",
      message: expect.stringContaining("read-only"),
    });
    await expect(mill.writeFile("/web/small.txt", "x")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    for (const data of [5, null, ["text"], { a: 1 }])
      await expect(mill.writeFile("/m/bad", data as never)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    const texts = async function* () {
      yield "text" as never;
    };
    await expect(mill.writeFile("/m/bad", texts())).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /got string/ });
    await expect(mill.writeFile("s3://data", "x")).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  test("a write that fails while its data still flows ends the data", async () => {
    const mill = await open();
    await origin.shape({ deny: ["data/root/denied"] });
    let returned = false;
    const endless = async function* () {
      try {
        for (;;) yield large.subarray(0, 3 * MIB);
      } finally {
        returned = true;
      }
    };
    await expect(mill.writeFile("/m/denied", endless())).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    await expect.poll(() => returned, IN_TIME).toBe(true);
  });

  test("more than is kept in hand is written, and read again from the origin", async () => {
    const mill = await open({ cache: { memory: "128MiB" } });
    const huge = async function* () {
      for (let i = 0; i < 9; i++) yield large.subarray(i, i + 8 * MIB);
    };
    expect((await mill.writeFile("/m/huge", huge())).size).toBe(72 * MIB);
    const end = await mill.readFile("/m/huge", { begin: 64 * MIB });
    expect(Buffer.compare(end, large.subarray(8, 8 + 8 * MIB))).toBe(0);
    expect((await kinds()).get).toBeGreaterThan(0);
  });
});

describe("list and stat", () => {
  test("more than a page, in order; leaving early stops it", async () => {
    const names = Array.from({ length: 2_345 }, (_, i) => `many/${String(i).padStart(5, "0")}`);
    for (let i = 0; i < names.length; i += 100)
      await Promise.all(names.slice(i, i + 100).map((name) => origin.put("listed", name, Uint8Array.of(1))));
    const mill = await open();
    await origin.reset();
    for await (const { path } of mill.list("s3://listed/many")) if (path.endsWith("00001")) break;
    await expect.poll(async () => (await origin.stats()).inFlight, IN_TIME).toBe(0);
    expect((await kinds()).list).toBeLessThanOrEqual(2);
    expect(await paths(mill.list("s3://listed/many"))).toEqual(names.map((name) => `s3://listed/${name}`));
    expect(await paths(mill.list("s3://listed/many/00007"))).toEqual(["s3://listed/many/00007"]);
    expect(await paths(mill.list("s3://listed/man"))).toEqual([]);
  });

  test("a prefix is a folder: its siblings of a longer name are not in it", async () => {
    for (const key of ["one/a/x", "one/ab/x", "one/ab", "one2/y"]) await origin.put("near", key, Uint8Array.of(1));
    const mill = await open({ mounts: { "/one": "s3://near/one/" } });
    expect(await paths(mill.list("/one"))).toEqual(["/one/a/x", "/one/ab", "/one/ab/x"]);
    expect(await paths(mill.list("/one/"))).toEqual(["/one/a/x", "/one/ab", "/one/ab/x"]);
    expect(await paths(mill.list("/one/a"))).toEqual(["/one/a/x"]);
    expect(await paths(mill.list("/one/ab"))).toEqual(["/one/ab/x"]);
    expect(await paths(mill.list("/one/none"))).toEqual([]);
    expect((await paths(mill.list("s3://near"))).length).toBe(4);
  });

  test("failures come where the caller iterates", async () => {
    const mill = await open();
    await expect(paths(mill.list("/nowhere"))).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /no mount/ });
    await expect(paths(mill.list("s3://no-bucket/x"))).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await expect(paths(mill.list(`${origin.endpoint}/data`))).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /listed/ });
    await expect(mill.stat("/m")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});

describe("materialize", () => {
  const leftIn = async (path: string) => (await readdir(path)).filter((name) => name.startsWith("millrace-copy-"));

  test("a local file is its own copy, and stays", async () => {
    const mill = await open();
    await writeFile(join(folder, "here.txt"), "here");
    const copy = await mill.materialize(`file://${folder}/here.txt`);
    expect(copy.path).toBe(join(folder, "here.txt"));
    await copy.release();
    expect(await readFile(copy.path, "utf8")).toBe("here");
  });

  test("of others one copy, shared, counted, beside the cache directory, removed with its last user", async () => {
    const disk = await mkdtemp(join(folder, "disk-"));
    const mill = await open({ cache: { memory: "4MiB", disk: [{ path: disk, capacity: "64MiB" }] } });
    const [one, two] = await Promise.all([mill.materialize("/m/large.bin"), mill.materialize("/m/large.bin")]);
    expect(one.path).toBe(two.path);
    expect(one.path.startsWith(disk) && one.path.endsWith("/large.bin")).toBe(true);
    expect(Buffer.compare(await readFile(one.path), large)).toBe(0);
    expect((await origin.stats()).bytesSent).toBe(LARGE);
    await one.release();
    await one.release();
    await access(two.path);
    await two[Symbol.asyncDispose]();
    expect(await leftIn(disk)).toEqual([]);
    const again = await mill.materialize("/m/small.txt");
    await mill.close();
    await expect(access(again.path)).rejects.toThrow();
    await again.release();
    expect(await leftIn(disk)).toEqual([]);
  });

  test("who leaves while it is made does not end it for the others; nothing stays of one nobody wants", async () => {
    const disk = await mkdtemp(join(folder, "disk-"));
    const mill = await open({ cache: { memory: "4MiB", disk: [{ path: disk, capacity: "64MiB" }] } });
    await origin.shape({ firstByteMs: 60 });
    const stop = new AbortController();
    const left = mill.materialize("/m/large.bin", { signal: stop.signal });
    const stays = mill.materialize("/m/large.bin");
    setTimeout(() => stop.abort(), 90);
    await expect(left).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    const copy = await stays;
    expect(Buffer.compare(await readFile(copy.path), large)).toBe(0);
    await copy.release();
    await mill.evict("/m/large.bin");
    await origin.failNext(20, "hang", { kind: "get" });
    const late = new AbortController();
    const alone = mill.materialize("/m/large.bin", { signal: late.signal });
    setTimeout(() => late.abort(), 50);
    await expect(alone).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect.poll(() => leftIn(disk), IN_TIME).toEqual([]);
  });

  test("a failure is told and leaves nothing; the next call tries again", async () => {
    const disk = await mkdtemp(join(folder, "disk-"));
    const mill = await open({ cache: { memory: "4MiB", disk: [{ path: disk, capacity: "64MiB" }] } });
    await origin.failNext(1, "AccessDenied", { kind: "get" });
    await expect(mill.materialize("/m/small.txt")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    expect(await leftIn(disk)).toEqual([]);
    const copy = await mill.materialize("/m/small.txt");
    expect(await readFile(copy.path, "utf8")).toBe("small");
  });

  test("names that cannot be a file's are replaced, their extension kept", async () => {
    const mill = await open();
    const long = `root/${"n".repeat(300)}.onnx`;
    await origin.put("data", long, Uint8Array.of(7));
    const copy = await mill.materialize(`s3://data/${long}`);
    expect(copy.path.endsWith("/object.onnx")).toBe(true);
    expect([...(await readFile(copy.path))]).toEqual([7]);
  });
});

describe("evict and invalidate", () => {
  test("evict frees the bytes below the prefix, and a later read fetches them again", async () => {
    const mill = await open();
    await mill.readFile("/m/large.bin");
    await mill.readFile("/m/small.txt");
    expect(await mill.evict("/m/small.txt")).toBe(5);
    expect(await mill.evict("/m/nothing-here")).toBe(0);
    expect(await mill.evict("/m")).toBe(LARGE);
    expect(await mill.evict("/m")).toBe(0);
    await origin.reset();
    await mill.readFile("/m/large.bin");
    expect((await origin.stats()).bytesSent).toBe(LARGE);
  });

  test("invalidate makes the next look ask the origin", async () => {
    const mill = await open();
    expect((await mill.stat("/m/small.txt")).size).toBe(5);
    await origin.put("data", "root/small.txt", Buffer.from("grown up"));
    expect((await mill.stat("/m/small.txt")).size).toBe(5);
    expect(await mill.invalidate("/m")).toBe(1);
    expect((await mill.stat("/m/small.txt")).size).toBe(8);
    await paths(mill.list("/m"));
    await origin.reset();
    await paths(mill.list("/m"));
    expect((await origin.stats()).requests).toBe(0);
    await mill.invalidate("/m/small.txt");
    await paths(mill.list("/m"));
    expect((await kinds()).list).toBe(1);
  });
});
