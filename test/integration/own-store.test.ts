/** Stores of the user's own, as modules, in both engines; and those that break their contract. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type Millrace, openMillrace } from "../../src/index.js";
import type { Breach } from "./fixtures/strange-store.js";

const mills: Millrace[] = [];
const folders: string[] = [];
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

const OWN = new URL("../support/own-store.ts", import.meta.url);
const STRANGE = new URL("./fixtures/strange-store.ts", import.meta.url);

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  const open = async (url: URL | string, args: unknown, exported?: string): Promise<Millrace> => {
    mills.push(
      await openMillrace({ engine, cache: { memory: "8MiB" }, stores: { own: { url, args, ...(exported && { export: exported }) } } }),
    );
    return mills.at(-1)!;
  };

  test("a store in TypeScript: written, listed, read, prefetched", async () => {
    const mill = await open(OWN, { name: `made for ${engine}` }, "open");
    for (const name of ["b", "a", "c"]) await mill.writeFile(`own://root/in/${name}`, name.repeat(3));
    const listed: string[] = [];
    for await (const { path, size } of mill.list("own://root/in")) listed.push(`${path} ${size}`);
    expect(listed).toEqual(["own://root/in/a 3", "own://root/in/b 3", "own://root/in/c 3"]);
    expect(Buffer.from(await mill.readFile("own://root/in/b")).toString()).toBe("bbb");
    await mill.evict("own://root/in");
    expect(await mill.prefetch("own://root/in").done).toMatchObject({ objects: 3, bytes: 9 });
    await expect(mill.readFile("own://root/in/none")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message: /is not here/ });
  });

  test("a store that never opens holds up no saves and writes but its own, and not the mill's end", async () => {
    const mill = await open(new URL("./fixtures/never-store.ts", import.meta.url), {});
    const tensors = [{ name: "w", dtype: "F32" as const, shape: [1], data: new Float32Array(1) }];
    const stop = new AbortController();
    const given = mill.saveCheckpoint("own://x/a.safetensors", tensors, { signal: stop.signal });
    const left = mill.saveCheckpoint("own://x/b.safetensors", tensors);
    left.catch(() => {});
    await mill.writeFile(`memory://never-${engine}/x`, "x");
    await mill.saveCheckpoint(`memory://never-${engine}/b.safetensors`, tensors);
    stop.abort();
    await expect(given).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await mill.close();
    await expect(left).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });

  test("a store in JavaScript", async () => {
    const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
    folders.push(folder);
    await writeFile(
      join(folder, "store.mjs"),
      `export default (args, { uri }) => ({
        uri,
        async *list() {},
        stat: async (path) => ({ path, size: args.size, etag: "1", lastModified: undefined }),
        readInto: async (object, begin, targets, { claim, progress }) => {
          if (claim?.() === false) return;
          for (const target of targets) { target.fill(5); progress.received += target.length; }
        },
      });`,
    );
    const mill = await open(pathToFileURL(join(folder, "store.mjs")), { size: 4 });
    expect([...(await mill.readFile("own://x/y"))]).toEqual([5, 5, 5, 5]);
    await expect(mill.writeFile("own://x/y", "z")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION", message: /cannot write/ });
  });

  test("a module that is not there, or is none: named by its option", async () => {
    await expect((await open("file:///no/such/module.js", {})).stat("own://a/b")).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    await expect((await open(OWN, {}, "nothing")).stat("own://a/b")).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/stores.*nothing/s),
    });
  });
});

describe("a store that breaks its contract", () => {
  const open = async (breach: Breach): Promise<Millrace> => {
    mills.push(await openMillrace({ engine: "inline", cache: { memory: "8MiB" }, stores: { own: { url: STRANGE, args: breach } } }));
    return mills.at(-1)!;
  };
  const list = async (mill: Millrace) => {
    for await (const _ of mill.list("own://root/in"));
  };

  test("one that does not", async () => {
    const mill = await open({});
    await list(mill);
    expect(new Set(await mill.readFile("own://root/in/a.bin"))).toEqual(new Set([7]));
  });

  test.each([
    [{ size: "100" }, /size/],
    [{ size: -1 }, /size/],
    [{ size: Number.NaN }, /size/],
    [{ etag: undefined }, /etag/],
    [{ etag: "" }, /etag/],
  ] as [Breach, RegExp][])("facts %j", async (breach, message) => {
    const mill = await open(breach);
    await expect(mill.stat("own://root/in/a.bin")).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message });
    await expect(list(mill)).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message });
  });

  test.each([
    ["unordered", /a\.bin after .*b\.bin/],
    ["outside", /does not begin with the prefix/],
    ["junk", /undefined/],
  ] as const)("a listing that is %s", async (kind, message) => {
    await expect(list(await open({ list: kind }))).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message });
  });

  test.each([0, 40])("a read that fills %i of 100 bytes never becomes data", async (fill) => {
    const mill = await open({ fill });
    await expect(mill.readFile("own://root/in/a.bin")).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /of 100 bytes/ });
    expect(mill.stats().memory!.heldBytes).toBe(0);
  });

  test("a read that throws a string: tried again, and given up with what it said", async () => {
    const mill = await open({ read: "throws a string" });
    await expect(mill.readFile("own://root/in/a.bin")).rejects.toMatchObject({
      code: "MILLRACE_UNAVAILABLE",
      message: /no way.*gave up after 6 tries/,
    });
    expect(mill.stats().origin!.retries).toBe(5);
  });

  test("a read that never ends but honours its signal: abort and close end it", async () => {
    const mill = await open({ read: "hangs" });
    const stop = new AbortController();
    const read = mill.readFile("own://root/in/a.bin", { signal: stop.signal });
    const other = mill.readFile("own://root/in/b.bin");
    other.catch(() => {});
    await mill.stat("own://root/in/c.bin");
    stop.abort();
    await expect(read).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await mill.close();
    await expect(other).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });
});
