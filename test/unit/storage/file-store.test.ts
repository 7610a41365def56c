import { chmod, type FileHandle, mkdir, mkdtemp, open, readdir, rm, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { fileError } from "../../../src/storage/file-errors.js";
import { FileStore } from "../../../src/storage/file-store.js";

let root: string;
let store: FileStore;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "millrace-file-"));
  store = new FileStore(root);
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function* chunks(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

async function paths(prefix: string, startAfter?: string): Promise<string[]> {
  const all: string[] = [];
  for await (const { path } of store.list(prefix, { startAfter })) all.push(path);
  return all;
}

describe("FileStore", () => {
  it("is rooted at / by default", async () => {
    await writeFile(join(root, "abs"), "abc");
    const whole = new FileStore();
    expect(whole.uri).toBe("file://");
    expect(await whole.stat(`${root.slice(1)}/abs`)).toMatchObject({ size: 3 });
  });

  it("removes what killed writers have left, once it is a day old, at the first write to a folder", async () => {
    const left = (name: string) => join(root, "swept", `.millrace-tmp-${name}`);
    await mkdir(join(root, "swept"));
    for (const name of ["old", "young"]) await writeFile(left(name), "half");
    await writeFile(join(root, "swept/old"), "a file");
    const dayAgo = Date.now() / 1000 - 86_500;
    for (const file of [left("old"), join(root, "swept/old")]) await utimes(file, dayAgo, dayAgo);
    await store.write("swept/new", chunks("x"));
    expect((await readdir(join(root, "swept"))).sort()).toEqual([".millrace-tmp-young", "new", "old"]);
  });

  it("writes no file in a folder's place", async () => {
    await mkdir(join(root, "taken/deep"), { recursive: true });
    await expect(store.write("taken", chunks("x"))).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("there is a folder of this name"),
    });
    expect(await readdir(join(root, "taken"))).toEqual(["deep"]);
  });

  it("follows links, but not in circles, and leaves out what is no file", async () => {
    await mkdir(join(root, "links/real/deep"), { recursive: true });
    await writeFile(join(root, "links/real/deep/x"), "x");
    await symlink(join(root, "links/real"), join(root, "links/a-link"));
    await symlink(join(root, "links/real/deep/x"), join(root, "links/file-link"));
    await symlink(join(root, "links"), join(root, "links/real/up"));
    await symlink(join(root, "nowhere"), join(root, "links/dangling"));
    await symlink(join(root, "links/loop"), join(root, "links/loop"));
    expect(await paths("links/")).toEqual(["links/a-link/deep/x", "links/file-link", "links/real/deep/x"]);
  });

  it("lists from any prefix and after any path across folders", async () => {
    for (const name of ["n/a.txt", "n/a/1", "n/a/b/2", "n/a0", "n/b"]) {
      await mkdir(join(root, name, ".."), { recursive: true });
      await writeFile(join(root, name), "");
    }
    const all = ["n/a.txt", "n/a/1", "n/a/b/2", "n/a0", "n/b"];
    expect(await paths("n")).toEqual(all);
    expect(await paths("n/a/b")).toEqual(["n/a/b/2"]);
    for (const [i, path] of all.entries()) expect(await paths("n/", path)).toEqual(all.slice(i + 1));
    expect(await paths("n/b/c/")).toEqual([]);
  });

  it("says what a folder, a wrong name and a name too long are", async () => {
    await mkdir(join(root, "folder"));
    await expect(store.stat("folder")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message: expect.stringContaining("folder") });
    await expect(store.stat("abs/below")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    for (const path of ["a/../b", "./a", "a//b", "", "a/"])
      await expect(store.stat(path)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    await expect(store.stat("x".repeat(300))).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    await expect(store.stat("nul\0")).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  it("is MILLRACE_PERMISSION where it may not read", async () => {
    await writeFile(join(root, "secret"), "x");
    await chmod(join(root, "secret"), 0);
    const object = await store.stat("secret");
    // Root may read anything: it looks at the file as nobody.
    const isRoot = process.getuid!() === 0;
    if (isRoot) process.seteuid!(65_534);
    try {
      await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    } finally {
      if (isRoot) process.seteuid!(0);
    }
  });

  it("notices a change of time, size or inode", async () => {
    const file = join(root, "changing");
    await writeFile(file, "0123456789");
    const object = await store.stat("changing");
    await utimes(file, 1, 1);
    await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
    expect((await store.stat("changing")).etag).not.toBe(object.etag);
  });

  it("notices a change during the read", async () => {
    const file = join(root, "shrinking");
    await writeFile(file, new Uint8Array(20 * 2 ** 20));
    const object = await store.stat("shrinking");
    let received = 0;
    const cut: Promise<void>[] = [];
    const progress = {
      get received() {
        return received;
      },
      set received(value: number) {
        received = value;
        cut.push(truncate(file, 1));
      },
    };
    await expect(store.readInto(object, 0, [new Uint8Array(20 * 2 ** 20)], { progress })).rejects.toMatchObject({
      code: "MILLRACE_CHANGED",
    });
    await Promise.all(cut);
  });

  it("leaves the old file whole and no temporary file when a write fails", async () => {
    await writeFile(join(root, "kept"), "old");
    const failing = async function* () {
      yield new Uint8Array(1000);
      throw new Error("no more");
    };
    await expect(store.write("kept", failing())).rejects.toThrow("no more");
    expect((await store.stat("kept")).size).toBe(3);
    expect((await readdir(root)).filter((name) => name.includes("tmp"))).toEqual([]);
  });

  it("does not call a file written whose folder the disk could not sync, but where a file system cannot sync folders", async () => {
    const probe = await open(join(root, "probe"), "w");
    const handles = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    const { sync } = handles;
    const write = async (code: string) => {
      const spy = vi.spyOn(handles, "sync").mockImplementation(async function (this: FileHandle) {
        if ((await this.stat()).isDirectory()) throw Object.assign(new Error(code), { code });
        await sync.call(this);
      });
      const [written] = await Promise.allSettled([store.write(`synced/${code}`, chunks("x"))]);
      spy.mockRestore();
      return written;
    };
    expect(await write("EIO")).toMatchObject({ status: "rejected", reason: { code: "MILLRACE_UNAVAILABLE" } });
    expect(await write("EINVAL")).toMatchObject({ status: "fulfilled" });
  });

  it("does not list what is being written", async () => {
    const parts = async function* () {
      yield new Uint8Array(10);
      expect(await paths("fresh")).toEqual([]);
      expect((await readdir(join(root, "fresh"))).length).toBe(1);
    };
    await store.write("fresh/file", parts());
    expect(await paths("fresh")).toEqual(["fresh/file"]);
  });
});

describe("fileError", () => {
  it.each([
    ["ENOSPC", "MILLRACE_NO_SPACE"],
    ["EDQUOT", "MILLRACE_NO_SPACE"],
    ["EROFS", "MILLRACE_PERMISSION"],
    ["EACCES", "MILLRACE_PERMISSION"],
    ["EIO", "MILLRACE_UNAVAILABLE"],
    ["EMFILE", "MILLRACE_UNAVAILABLE"],
  ])("%s is %s", (code, expected) => {
    const cause = Object.assign(new Error("it failed"), { code });
    expect(fileError(cause, { uri: "file:///x" })).toMatchObject({ code: expected, cause, message: expect.stringContaining(code) });
  });
});
