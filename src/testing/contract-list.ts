import assert from "node:assert/strict";
import type { StoredObject } from "../storage/store.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { type Bench, drawnBytes, failsWith, type StoreCase } from "./contract-bench.js";

/** In order of their UTF-8 bytes, with the traps: `.` before `/` before letters, U+FF21 before U+1F600, though not in UTF-16. */
const NAMES = ["a-b", "a.txt", "a/b/c", "a/b0", "a/c", "a0", "b", "z/é", "ä", "Ａ", "😀"];
/** More than S3's page of 1000. */
const MANY = 1205;

export function listCases(bench: Bench): StoreCase[] {
  const list = async (prefix: string, startAfter?: string): Promise<StoredObject[]> => {
    const all: StoredObject[] = [];
    for await (const stored of bench.store.list(prefix, { startAfter })) all.push(stored);
    return all;
  };
  const paths = async (prefix: string, startAfter?: string) => (await list(prefix, startAfter)).map(({ path }) => path);
  return [
    {
      name: "list: all paths below the prefix, recursively, in order of UTF-8 bytes, with size and etag",
      run: async (store) => {
        for (const [i, name] of [...NAMES].reverse().entries()) await bench.put(`order/${name}`, drawnBytes(i));
        const listed = await list(bench.path("order/"));
        assert.deepEqual(
          listed.map(({ path }) => path),
          NAMES.map((name) => bench.path(`order/${name}`)),
        );
        for (const stored of listed) {
          const { size, etag } = await store.stat(stored.path);
          assert.deepEqual({ size: stored.size, etag: stored.etag }, { size, etag });
        }
      },
    },
    {
      name: "list: a prefix is a beginning of names, not a folder; nothing found is no error",
      run: async () => {
        for (const name of ["ab/1", "ab/2", "abc", "b"]) await bench.put(`prefix/${name}`, drawnBytes(1));
        const under = (names: readonly string[]) => names.map((name) => bench.path(`prefix/${name}`));
        assert.deepEqual(await paths(bench.path("prefix/a")), under(["ab/1", "ab/2", "abc"]));
        assert.deepEqual(await paths(bench.path("prefix/ab/")), under(["ab/1", "ab/2"]));
        assert.deepEqual(await paths(bench.path("prefix/abc")), under(["abc"]));
        assert.deepEqual(await paths(bench.path("prefix/nothing")), []);
        assert.deepEqual(await paths(bench.path("nowhere/at/all/")), []);
      },
    },
    {
      name: `list: ${MANY} paths, and those after any one of them`,
      run: async () => {
        const names = Array.from({ length: MANY }, (_, i) => `many/${i % 7}/${i}`);
        for (let i = 0; i < MANY; i += 50) await Promise.all(names.slice(i, i + 50).map((name) => bench.put(name, drawnBytes(3))));
        const expected = names.map((name) => bench.path(name)).sort(compareUtf8);
        assert.deepEqual(await paths(bench.path("many/")), expected);
        for (const at of [0, 999, 1000, MANY - 2, MANY - 1])
          assert.deepEqual(await paths(bench.path("many/"), expected[at]), expected.slice(at + 1));
      },
    },
    {
      name: "list: an aborted signal ends it",
      run: async (store) => {
        await bench.put("aborted-list/1", drawnBytes(1));
        const iterator = store.list(bench.path("aborted-list/"), { signal: AbortSignal.abort() })[Symbol.asyncIterator]();
        await assert.rejects(async () => iterator.next(), failsWith("MILLRACE_ABORTED"));
      },
    },
  ];
}
