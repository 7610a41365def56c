import assert from "node:assert/strict";
import type { Store } from "../storage/store.js";
import { assertBytes, type Bench, drawnBytes, failsWith, once, type StoreCase } from "./contract-bench.js";

/** More than one part of a multipart upload, and no multiple of one. */
const LARGE = 20 * 2 ** 20 + 12_345;
const PART = 700_001;
/** A part of a multipart upload. */
const WHOLE = 8 * 2 ** 20;

export function writeCases(bench: Bench): StoreCase[] {
  const write: NonNullable<Store["write"]> = (path, parts, options) => bench.store.write!(path, parts, options);
  return [
    {
      name: "write: what it resolves to is what stat says, and the bytes are there",
      run: async (store) => {
        const path = bench.path("written");
        const bytes = drawnBytes(5000);
        const stored = await write(path, once(bytes.subarray(0, 1), bytes.subarray(1, 1), bytes.subarray(1, 4000), bytes.subarray(4000)));
        const { size, etag } = await store.stat(path);
        assert.deepEqual({ path: stored.path, size: stored.size, etag: stored.etag }, { path, size, etag });
        assertBytes(await bench.read(path), bytes);
      },
    },
    {
      name: "write: no parts at all make an object of no bytes",
      run: async (store) => {
        const stored = await write(bench.path("written-empty"), once());
        assert.equal(stored.size, 0);
        assert.equal((await store.stat(stored.path)).size, 0);
      },
    },
    {
      name: "write: many parts, from memory that the caller uses again, with progress to the last byte",
      run: async (store) => {
        const bytes = drawnBytes(LARGE);
        const reused = new Uint8Array(PART);
        const parts = async function* () {
          for (let at = 0; at < LARGE; at += PART) {
            const piece = bytes.subarray(at, at + PART);
            reused.set(piece);
            yield reused.subarray(0, piece.length);
          }
        };
        let last = 0;
        const onProgress = (sum: number) => {
          assert.ok(sum >= last);
          last = sum;
        };
        const stored = await write(bench.path("written-large"), parts(), { size: LARGE, onProgress });
        assert.equal(last, LARGE);
        assert.equal(stored.etag, (await store.stat(stored.path)).etag);
        assertBytes(await bench.read(stored.path), bytes);
      },
    },
    {
      name: "write: parts that are given back late are not used after that, and each is given back once at most",
      run: async () => {
        const bytes = drawnBytes(LARGE);
        const out = new Set<Uint8Array>();
        const parts = async function* () {
          for (let at = 0; at < LARGE; at += WHOLE) {
            const part = bytes.slice(at, at + WHOLE);
            out.add(part);
            yield part;
          }
        };
        const release = (part: Uint8Array) => {
          assert.ok(out.delete(part));
          part.fill(0);
        };
        const stored = await write(bench.path("written-released"), parts(), { size: LARGE, release });
        assertBytes(await bench.read(stored.path), bytes);
      },
    },
    {
      name: "write: an object is not there before it is whole, nor after its source has failed or the write was aborted",
      run: async (store) => {
        const path = bench.path("partial");
        const failing = async function* () {
          for (let i = 0; i < 12; i++) yield drawnBytes(2 ** 20);
          await assert.rejects(store.stat(path), failsWith("MILLRACE_NOT_FOUND"));
          throw new Error("the source failed");
        };
        await assert.rejects(write(path, failing()));
        const controller = new AbortController();
        const aborted = async function* () {
          for (let i = 0; i < 12; i++) yield drawnBytes(2 ** 20);
          controller.abort();
          yield drawnBytes(1);
        };
        await assert.rejects(write(path, aborted(), { signal: controller.signal }), failsWith("MILLRACE_ABORTED"));
        await assert.rejects(store.stat(path), failsWith("MILLRACE_NOT_FOUND"));
        if (bench.harness.lists !== false) for await (const stored of store.list(path)) assert.fail(`${stored.path} was left behind`);
      },
    },
  ];
}

export function removeCases(bench: Bench): StoreCase[] {
  return [
    {
      name: "remove: the object is gone and no other; one that is not there is no failure",
      run: async (store) => {
        const [gone, kept] = [bench.path("removed"), bench.path("removed-not")];
        for (const path of [gone, kept]) await store.write!(path, once(drawnBytes(10)));
        await store.remove!(gone);
        await assert.rejects(store.stat(gone), failsWith("MILLRACE_NOT_FOUND"));
        await store.remove!(gone);
        assert.equal((await store.stat(kept)).size, 10);
      },
    },
  ];
}
