import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import packStore from "../../examples/own-store/pack-store.js";
import { writePack } from "../../examples/own-store/write-pack.js";
import { type Store, storeContract } from "../../src/testing/index.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-pack-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** The example's store with objects put into it: a pack is never changed, so the next use after a put packs and opens anew. */
class Repacked implements Store {
  readonly uri = "pack://contract";
  readonly #objects: Record<string, Uint8Array> = {};
  #store: Promise<Store> | undefined;

  put = async (path: string, bytes: Uint8Array): Promise<void> => {
    this.#objects[path] = bytes;
    await this.close();
    this.#store = undefined;
  };
  async *list(...args: Parameters<Store["list"]>): ReturnType<Store["list"]> {
    yield* (await this.#open()).list(...args);
  }
  stat: Store["stat"] = async (...args) => (await this.#open()).stat(...args);
  readInto: Store["readInto"] = async (...args) => (await this.#open()).readInto(...args);
  close = async (): Promise<void> => (await this.#store)?.close?.();

  #open(): Promise<Store> {
    this.#store ??= this.#pack();
    return this.#store;
  }
  async #pack(): Promise<Store> {
    const file = join(folder, "objects.pack");
    await writePack(`${file}.new`, this.#objects);
    await rename(`${file}.new`, file);
    return packStore({ file }, { uri: this.uri });
  }
}

describe("the store of the example", () => {
  const store = new Repacked();
  for (const { name, run } of storeContract({ open: () => store, put: store.put, writes: false })) it(name, run);
});
