import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newCounters, withCounters } from "../../../src/storage/count.js";
import { FileStore } from "../../../src/storage/file-store.js";
import { HttpStore } from "../../../src/storage/http-store.js";
import { MemoryStore, memoryStore } from "../../../src/storage/memory-store.js";
import { moduleStore } from "../../../src/storage/module-store.js";
import { openStore } from "../../../src/storage/open-store.js";
import { S3Store } from "../../../src/storage/s3-store.js";
import { FaultStore } from "../../../src/testing/index.js";

async function* one(bytes: Uint8Array) {
  yield bytes;
}

describe("withCounters", () => {
  it("counts calls, bytes and failures", async () => {
    const counters = newCounters();
    const memory = memoryStore("count");
    const faulty = new FaultStore(memory, {});
    const store = withCounters(faulty, counters);
    const object = await store.write!("k", one(new Uint8Array(100)));
    await store.readInto(object, 10, [new Uint8Array(50)]);
    await store.stat("k");
    for await (const _ of store.list("")) break;
    expect(counters).toEqual({ ...newCounters(), reads: 1, bytes: 50, lists: 1, stats: 1, writes: 1 });
    faulty.set({ truncateRate: 1, seed: 3 });
    const progress = { received: 1000 };
    await expect(store.readInto(object, 0, [new Uint8Array(100)], { progress })).rejects.toThrow();
    expect(counters.bytes).toBe(50 + progress.received - 1000);
    expect(counters.bytes).toBeLessThan(150);
    faulty.set({ errorRate: 1 });
    await expect(store.stat("k")).rejects.toThrow();
    await expect(store.write!("k", one(new Uint8Array(1)))).rejects.toThrow();
    await expect(async () => {
      for await (const _ of store.list(""));
    }).rejects.toThrow();
    expect(counters).toMatchObject({ reads: 2, lists: 2, stats: 2, writes: 2, errors: 4 });
    await store.close!();
  });
});

describe("FaultStore", () => {
  it("injects the same faults for the same seed", async () => {
    const memory = memoryStore("faults");
    const object = await memory.write("k", one(new Uint8Array(1000)));
    const run = async (seed: number) => {
      const store = new FaultStore(memory, { errorRate: 0.3, truncateRate: 0.3, changedRate: 0.1, seed });
      const codes: unknown[] = [];
      for (let i = 0; i < 100; i++) {
        const progress = { received: 0 };
        codes.push(
          await store.readInto(object, 0, [new Uint8Array(1000)], { progress }).then(
            () => progress.received,
            (e: { code: string }) => `${e.code} ${progress.received}`,
          ),
        );
      }
      return codes;
    };
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
    expect(new Set((await run(1)).map((code) => String(code).split(" ")[0]))).toEqual(
      new Set(["1000", "MILLRACE_UNAVAILABLE", "MILLRACE_CHANGED"]),
    );
  });

  it("stalls until aborted, delays, and changes etags", async () => {
    const memory = memoryStore("faults-stall");
    const object = await memory.write("k", one(new Uint8Array(1000)));
    const store = new FaultStore(memory, { stallRate: 1, stallMs: 60_000 });
    await expect(store.readInto(object, 0, [new Uint8Array(9)], { signal: AbortSignal.timeout(10) })).rejects.toMatchObject({
      code: "MILLRACE_ABORTED",
    });
    store.set({ stallRate: 1, stallMs: 1, latencyMs: 1, changedRate: 1 });
    expect((await store.stat("k")).etag).not.toBe(object.etag);
    await expect(store.readInto(object, 0, [new Uint8Array(9)])).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
    store.set({ stallRate: 1, stallMs: 1 });
    await expect(store.readInto(object, 0, [new Uint8Array(9)])).rejects.toMatchObject({ code: "MILLRACE_TIMEOUT" });
  });
});

describe("moduleStore", () => {
  let folder: string;
  let url: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "millrace-module-"));
    const file = join(folder, "store.mjs");
    await writeFile(
      file,
      `const whole = { uri: "own://b", async *list() { throw new Error("no list"); }, stat: async () => { throw "odd"; },
         readInto: () => { throw Object.assign(new Error("stop"), { name: "AbortError" }); } };
       export default (args, { uri }) => ({ ...whole, uri: uri + "/" + args.tag });
       export const noUri = () => ({ ...whole, uri: "" });
       export const noStat = () => ({ ...whole, stat: 1 });
       export const badWrite = () => ({ ...whole, write: 1 });
       export const nothing = () => undefined;
       export const throws = () => { throw new Error("cannot open"); };
       export const notAFunction = 1;`,
    );
    url = pathToFileURL(file).href;
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("calls the export with args and root", async () => {
    const store = await moduleStore({ url, args: { tag: "t" } }, "own://b");
    expect(store.uri).toBe("own://b/t");
    expect(store.write).toBeUndefined();
  });

  it.each([
    ["noUri", /has no uri/],
    ["noStat", /has no stat\(\)/],
    ["badWrite", /has a write that is not a function/],
    ["nothing", /is not an object/],
    ["throws", /threw while opening own:\/\/b: cannot open/],
    ["notAFunction", /is not a function/],
    ["absent", /is not a function/],
  ])("export %s is MILLRACE_CONFIG", async (name, message) => {
    const opened = moduleStore({ url: new URL(url), export: name }, "own://b");
    await expect(opened).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) });
  });

  it("a module that cannot be imported is MILLRACE_CONFIG", async () => {
    await expect(moduleStore({ url: "./no-such-store.js" }, "own://b")).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  it("what its code throws becomes a MillraceError", async () => {
    const store = await moduleStore({ url, args: {} }, "own://b");
    await expect(store.stat("k")).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE", cause: "odd" });
    const object = { path: "k", size: 1, etag: "e", lastModified: undefined };
    await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect(store.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  });
});

describe("openStore", () => {
  it("finds the store of each scheme", async () => {
    expect(await openStore("file:///x")).toBeInstanceOf(FileStore);
    expect(await openStore("memory://x")).toBeInstanceOf(MemoryStore);
    expect(await openStore("http://host:1/x")).toBeInstanceOf(HttpStore);
    const https = await openStore("https://host/x?y");
    expect(https).toBeInstanceOf(HttpStore);
    expect(https.uri).toBe("https://host");
    const s3 = await openStore("s3://bucket/x", { s3: { region: "eu-west-1", anonymous: true } });
    expect(s3).toBeInstanceOf(S3Store);
    expect(s3.uri).toBe("s3://bucket");
    await s3.close?.();
  });
  it("names what to do for a scheme it does not know", async () => {
    await expect(openStore("gs://b/x")).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("stores.gs") });
  });
  it("shares memory by name within the thread", async () => {
    await memoryStore("shared").write("k", one(new Uint8Array(3)));
    expect((await (await openStore("memory://shared")).stat("k")).size).toBe(3);
    await expect((await openStore("memory://other")).stat("k")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});
