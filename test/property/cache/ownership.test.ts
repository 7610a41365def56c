/**
 * Random reads, of this node and of peers, while other nodes serve or do not, blocks change hands, readers leave and the origin fails: bytes are
 * right, nobody waits for ever, and no slot or room is left over.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import type { Slab } from "../../../src/blocks/slab.js";
import { leaseSpan } from "../../../src/blocks/span-slots.js";
import type { SlotSource } from "../../../src/cache/slot-source.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { isMillraceError, MillraceError } from "../../../src/errors.js";
import { IN_TIME } from "../../support/in-time.js";
import { bytesOf, FakeStore, LRU_RULES, PIN } from "../../unit/cache/fake-store.js";

const BLOCK = 64 * 1024;
const GROUP = 2 * BLOCK;
const READS = 100;

/** Other nodes hold two of three groups, which change with `turns`, and serve half of the times. */
class OtherNodes implements SlotSource {
  readonly tier = "peer" as const;
  readonly groupBytes = GROUP;
  turns = 0;
  readonly #slab: Slab;
  readonly #random: () => number;

  constructor(slab: Slab, random: () => number) {
    this.#slab = slab;
    this.#random = random;
  }

  elsewhere({ size }: ObjectVersion, begin: number): boolean {
    return (Math.floor(begin / GROUP) + this.turns + size) % 3 !== 0;
  }

  standsIn(_object: ObjectVersion, begin: number): boolean {
    return Math.floor(begin / GROUP) % 2 === 0;
  }

  async read(object: ObjectVersion, firstBlock: number, count: number, demand: Parameters<SlotSource["read"]>[3]) {
    await sleep(this.#random() * 4);
    if (demand.signal?.aborted) throw demand.signal.reason;
    if (this.#random() < 0.5) return new Array<undefined>(count).fill(undefined);
    const leases = leaseSpan(this.#slab, BLOCK, firstBlock, count, demand);
    const seed = (object.store as FakeStore).seed(object.stored.path);
    let at = demand.begin;
    for (const { bytes } of leases) {
      bytes.set(bytesOf(seed, at, at + bytes.length));
      at += bytes.length;
    }
    return leases;
  }
}

/** mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function readAtRandom(cache: BlockCache, object: ObjectVersion, random: () => number): Promise<void> {
  const begin = Math.floor(random() * object.size);
  const end = Math.min(object.size, begin + 1 + Math.floor(random() * 3 * BLOCK));
  const controller = new AbortController();
  if (random() < 0.3) setTimeout(() => controller.abort(), random() * 6);
  const [local, standIn, wide] = [random() < 0.3, random() < 0.3, random() < 0.3];
  try {
    const span = await cache.acquire(object, begin, end, {
      priority: Math.floor(random() * 3),
      signal: controller.signal,
      local,
      standIn,
      wide,
    });
    expect(Buffer.compare(span.view(begin, end), bytesOf((object.store as FakeStore).seed(object.stored.path), begin, end))).toBe(0);
    span.release();
  } catch (error) {
    if (!isMillraceError(error)) throw error;
  }
}

it.each([
  ["memory", false],
  ["memory", true],
  ["memory and disk", false],
  ["memory and disk", true],
])(
  "with %s, copies: %s",
  async (tiers, copies) => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = randomOf(seed);
        const path = await mkdtemp(join(tmpdir(), "millrace-ownership-"));
        const disk = tiers === "memory" ? [] : [{ path, capacity: 8 * (BLOCK + 8192), highWatermark: 0.9, lowWatermark: 0.8 }];
        let others: OtherNodes | undefined;
        const sources = (slab: Slab) => {
          others = new OtherNodes(slab, random);
          return [others];
        };
        const cache = await BlockCache.open({ memoryBytes: 6 * BLOCK, blockSize: BLOCK, copies, disk, sources });
        const store = new FakeStore();
        const objects = [
          store.object("pinned", 9 * BLOCK + 7, PIN),
          store.object("lru", 7 * BLOCK, LRU_RULES),
          store.object("part", 8 * BLOCK, { mount: "/part", admission: "pin", share: 0.3 }),
        ];
        cache.refer(objects[0]!);
        const reads: Promise<void>[] = [];
        const changes: Promise<void>[] = [];
        for (let i = 0; i < READS; i++) {
          if (random() < 0.05) store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "later"));
          if (random() < 0.05) {
            others!.turns++;
            changes.push(cache.ownersChanged());
          }
          reads.push(readAtRandom(cache, objects[Math.floor(random() * objects.length)]!, random));
          if (random() < 0.3) await sleep(random() * 3);
        }
        await Promise.all([...reads, ...changes]);
        await cache.disk?.written();
        await expect.poll(() => cache.slab.stats().workingBytes, IN_TIME).toBe(0);
        expect(cache.stats().memoryChargedBytes).toBe(cache.slab.stats().tierBytes);
        await cache.evict(() => true);
        expect(cache.stats()).toMatchObject({ memoryChargedBytes: 0, disk: { chargedBytes: 0 } });
        await cache.close();
        expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0 });
        await rm(path, { recursive: true });
      }),
      { numRuns: 4 },
    );
  },
  120_000,
);
