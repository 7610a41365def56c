/** What an acquire costs that memory answers, and a small and a large slot of the slab. `npx tsx bench/micro/block-cache.ts` */
import { objectVersion } from "../../src/blocks/object-version.js";
import { Slab } from "../../src/blocks/slab.js";
import { BlockCache } from "../../src/cache/tier-chain.js";
import type { Store } from "../../src/storage/store.js";

const MIB = 2 ** 20;
const store: Store = {
  uri: "bench://",
  async *list() {},
  stat: () => Promise.reject(new Error("not asked")),
  readInto: async () => {},
};

/** Nanoseconds a call, best of five rounds. */
async function time(calls: number, work: () => Promise<void> | void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const began = performance.now();
    for (let i = 0; i < calls; i++) await work();
    best = Math.min(best, ((performance.now() - began) * 1e6) / calls);
  }
  return Math.round(best);
}

const cache = await BlockCache.open({ memoryBytes: 256 * MIB, disk: [], blockSize: MIB });
const object = objectVersion(
  store,
  { path: "a", size: 64 * MIB, etag: "1", lastModified: undefined },
  { mount: "/a", admission: "pin", share: 1 },
);
cache.refer(object);
(await cache.acquire(object, 0, object.size, { priority: 0 })).release();
const hit = (begin: number, end: number) => async () => (await cache.acquire(object, begin, end, { priority: 0 })).release();
const streaming = await BlockCache.open({ memoryBytes: 0, disk: [], blockSize: MIB });
const miss = async (): Promise<void> => (await streaming.acquire(object, 0, 8 * MIB, { priority: 0 })).release();
const missSmall = async (): Promise<void> => (await streaming.acquire(object, 5_000, 115_000, { priority: 0 })).release();
const slab = new Slab();
const full = new Slab();
for (let i = 0; i < 4_096; i++) full.allocate(MIB);
console.table({
  "hit, 110 KB within a block": { ns: await time(20_000, hit(5_000, 115_000)) },
  "hit, 8 MiB of 8 blocks": { ns: await time(20_000, hit(0, 8 * MIB)) },
  "hit, 8 MiB across 9 blocks": { ns: await time(20_000, hit(500, 8 * MIB + 500)) },
  "miss, 8 MiB streamed, store at no cost": { ns: await time(5_000, miss) },
  "miss, 110 KB streamed, store at no cost": { ns: await time(5_000, missSmall) },
  "slot of 1 MiB": { ns: await time(50_000, () => slab.allocate(MIB).release()) },
  "slot of 1 MiB beside 4 GiB taken": { ns: await time(50_000, () => full.allocate(MIB).release()) },
});
await cache.close();
await streaming.close();
