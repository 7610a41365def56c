/**
 * Random acquires, aborts, releases, evictions and failures against a model: bytes are always right, no lease leaks, no block is fetched
 * twice while it is held or on its way, and what is held never exceeds the capacity.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { BlockCache, type SpanLease } from "../../../src/cache/tier-chain.js";
import { isMillraceError, MillraceError } from "../../../src/errors.js";
import { IN_TIME } from "../../support/in-time.js";
import { bytesOf, FakeStore, LRU_RULES, PIN } from "../../unit/cache/fake-store.js";

const BLOCK = 64 * 1024;
const SIZES = [10, BLOCK, 2 * BLOCK + 5, 5 * BLOCK - 1];

type Step =
  | {
      readonly do: "acquire";
      readonly object: number;
      readonly from: number;
      readonly to: number;
      readonly abort: boolean;
      readonly hold: boolean;
      /** Into memory of its own, which it overwrites once it has read it. */
      readonly into: boolean;
    }
  | { readonly do: "release" }
  | { readonly do: "wait" }
  | { readonly do: "fail" }
  | { readonly do: "shut" }
  | { readonly do: "open" }
  | { readonly do: "evict" | "refer" | "unrefer" | "put"; readonly object: number };

const object = fc.nat(SIZES.length * 2 - 1);
const fraction = fc.double({ min: 0, max: 1, noNaN: true });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("acquire" as const),
      object,
      from: fraction,
      to: fraction,
      abort: fc.boolean(),
      hold: fc.boolean(),
      into: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ do: "release" }, { do: "wait" }, { do: "fail" }, { do: "shut" }, { do: "open" }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("evict" as const, "refer" as const, "unrefer" as const, "put" as const), object }),
  },
);

class Run {
  readonly store = new FakeStore();
  readonly objects: ObjectVersion[];
  readonly cache: BlockCache;
  readonly #pending: Promise<void>[] = [];
  readonly #held: SpanLease[] = [];

  constructor(cache: BlockCache) {
    this.cache = cache;
    this.objects = [PIN, LRU_RULES].flatMap((rules) => SIZES.map((size, i) => this.store.object(`${rules.mount}/${i}`, size, rules)));
  }

  async step(step: Step): Promise<void> {
    if (step.do === "acquire") this.#acquire(step);
    else if (step.do === "release") this.#held.pop()?.release();
    else if (step.do === "wait") await new Promise((resolve) => setImmediate(resolve));
    else if (step.do === "fail") this.store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "later"));
    // While it is shut reads are on their way, so that aborts and joins find them there.
    else if (step.do === "shut" || step.do === "open") this.store[step.do]();
    else await this.#change(step.do, this.objects[step.object]!);
    expect(this.cache.slab.stats().tierBytes).toBeLessThanOrEqual(this.cache.stats().memoryCapacityBytes);
    expect(this.cache.stats().disk.chargedBytes).toBeLessThanOrEqual(this.cache.stats().disk.capacityBytes);
  }

  async #change(what: "evict" | "refer" | "unrefer" | "put", target: ObjectVersion): Promise<void> {
    if (what === "evict") await this.cache.evict([target.id]);
    else if (what === "put") await this.cache.put(target, 0, bytesOf(this.store.seed(target.stored.path), 0, target.size));
    else if (what === "refer") this.cache.refer(target);
    else this.cache.unrefer(target.id);
  }

  #acquire({ object, from, to, abort, hold, into }: Step & { do: "acquire" }): void {
    const target = this.objects[object]!;
    const [begin, end] = [Math.floor(from * target.size), Math.floor(to * target.size)].sort((a, b) => a - b) as [number, number];
    const controller = new AbortController();
    const own = into ? { begin, bytes: new Uint8Array(end - begin) } : undefined;
    const acquired = this.cache.acquire(target, begin, end, { priority: 0, signal: controller.signal, into: own });
    this.#pending.push(
      acquired.then(
        (span) => {
          const bytes = own?.bytes ?? span.view(begin, end);
          if (own !== undefined) span.copyTo(begin, bytes);
          expect(Buffer.compare(bytes, bytesOf(this.store.seed(target.stored.path), begin, end))).toBe(0);
          if (hold && own === undefined) this.#held.push(span);
          else span.release();
          own?.bytes.fill(255);
        },
        (error) => {
          if (!isMillraceError(error, "MILLRACE_ABORTED") && !isMillraceError(error, "MILLRACE_UNAVAILABLE")) throw error;
          if (isMillraceError(error, "MILLRACE_ABORTED")) expect(controller.signal.aborted).toBe(true);
        },
      ),
    );
    if (abort) setImmediate(() => controller.abort());
  }

  async end(): Promise<void> {
    this.store.open();
    await Promise.all(this.#pending);
    for (const span of this.#held) span.release();
    // A fetch whose callers left may still be ending.
    while (this.store.inFlight > 0 || this.cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    this.store.failures.length = 0;
  }
}

async function check(steps: readonly Step[], memoryBlocks: number, diskBlocks: number): Promise<void> {
  const path = diskBlocks > 0 ? await mkdtemp(join(tmpdir(), "millrace-property-")) : "";
  const disk = diskBlocks > 0 ? [{ path, capacity: diskBlocks * (BLOCK + 8192), highWatermark: 0.95, lowWatermark: 0.7 }] : [];
  const cache = await BlockCache.open({ memoryBytes: memoryBlocks * BLOCK, disk, blockSize: BLOCK });
  try {
    const run = new Run(cache);
    for (const one of steps) await run.step(one);
    await run.end();
    // A read of the disk whose callers left keeps its slot until its I/O has ended.
    await vi.waitFor(() => expect(cache.slab.stats().workingBytes).toBe(0), IN_TIME);
    // With room for everything, everything is held after one more reading, and is not asked for again.
    for (const target of run.objects) (await cache.acquire(target, 0, target.size, { priority: 0 })).release();
    const before = run.store.bytes;
    let held = 0;
    for (const target of run.objects) held += cache.cachedBytes(target);
    for (const target of run.objects.filter((one) => cache.cachedBytes(one) === one.size && one.rules === PIN)) {
      (await cache.acquire(target, 0, target.size, { priority: 0 })).release();
      expect(run.store.bytes).toBe(before);
    }
    expect(held).toBe(cache.stats().admittedBytes);
    if (memoryBlocks >= 64) expect(held).toBe(run.objects.reduce((sum, one) => sum + one.size, 0));
  } finally {
    await cache.close();
    expect(cache.slab.stats()).toMatchObject({ workingBytes: 0, tierBytes: 0, slots: 0 });
    expect(cache.stats()).toMatchObject({ memoryChargedBytes: 0 });
    if (path !== "") await rm(path, { recursive: true, force: true });
  }
}

describe("BlockCache", () => {
  it("keeps its word in memory, whatever is asked of it", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: "max" }), fc.constantFrom(0, 1, 5, 64), (steps, memory) =>
        check(steps, memory, 0),
      ),
      { numRuns: 150 },
    );
  });

  it("keeps its word with a disk", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 10, maxLength: 40, size: "max" }),
        fc.constantFrom(0, 3),
        fc.constantFrom(2, 8, 40),
        check,
      ),
      {
        numRuns: 12,
      },
    );
  });

  it("fetches each missing block once, however many ask at the same time", async () => {
    const range = fc.tuple(fraction, fraction);
    await fc.assert(
      fc.asyncProperty(fc.array(range, { minLength: 1, maxLength: 20, size: "max" }), async (ranges) => {
        const cache = await BlockCache.open({ memoryBytes: 64 * BLOCK, disk: [], blockSize: BLOCK });
        const store = new FakeStore();
        const target = store.object("a", 9 * BLOCK + 3);
        const spans = await Promise.all(
          ranges.map(([from, to]) => {
            const [begin, end] = [Math.floor(from * target.size), Math.floor(to * target.size)].sort((a, b) => a - b) as [number, number];
            return cache.acquire(target, begin, end, { priority: 0 });
          }),
        );
        const fetched = store.ranges.flatMap(({ begin, end }) => {
          const blocks = [];
          for (let block = begin / BLOCK; block * BLOCK < end; block++) blocks.push(block);
          return blocks;
        });
        expect(new Set(fetched).size).toBe(fetched.length);
        for (const span of spans) span.release();
        await cache.close();
      }),
      { numRuns: 150 },
    );
  });
});
