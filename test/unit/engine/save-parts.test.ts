/** Parts of a save, lent to whoever writes them: given on only when written, whoever comes first. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { Lending } from "../../../src/engine/save-parts.js";

const BLOCK = 64 * 1024;
const PART = 8 * 2 ** 20;
const SIZE = PART + 5;
let cache: BlockCache;
beforeEach(async () => {
  cache = await BlockCache.open({ memoryBytes: 0, disk: [], blockSize: BLOCK });
});
afterEach(async () => {
  // All memory is given back.
  expect(cache.slab.stats().workingBytes).toBe(0);
  await cache.close();
});
const turns = () => new Promise((resolve) => setImmediate(resolve));
const never = new AbortController().signal;

/** What the reader is given, each part's first byte and length. */
async function received(lending: Lending): Promise<number[][]> {
  const all: number[][] = [];
  for await (const part of lending.parts(cache, SIZE, never)) {
    const bytes = part.joined();
    all.push([bytes[0]!, bytes.length]);
    part.release();
  }
  lending.end();
  return all;
}
async function write(lending: Lending): Promise<void> {
  for (let value = 1; ; value++) {
    const room = await lending.next();
    if (room === undefined) return;
    await turns();
    for (const view of room) view.fill(value);
  }
}

test.each(["the engine", "the caller"])("%s comes first", async (first) => {
  const lending = new Lending();
  const reading = first === "the engine" ? received(lending) : turns().then(() => received(lending));
  if (first === "the engine") await turns();
  await write(lending);
  expect(await reading).toEqual([
    [1, PART],
    [2, 5],
  ]);
});

test("a part that nobody asked for is given back when the save ends", async () => {
  const lending = new Lending();
  const abort = new AbortController();
  const reading = lending.parts(cache, SIZE, abort.signal).next();
  reading.catch(() => {});
  await turns();
  abort.abort();
  await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  lending.end();
  expect(await lending.next()).toBeUndefined();
});

test("memory that is lent stays the caller's until it says that it writes no more", async () => {
  const lending = new Lending();
  const abort = new AbortController();
  const reading = lending.parts(cache, SIZE, abort.signal).next();
  reading.catch(() => {});
  expect(await lending.next()).toBeDefined();
  abort.abort();
  await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  lending.end();
  expect(cache.slab.stats().workingBytes).toBe(PART);
  lending.takeBack();
});
