/** What every BlockSource must do. `make` gives a source over a store; `mayMiss`: it may answer `undefined`. */
import { expect, it } from "vitest";
import type { BlockLease, Demand } from "../../src/blocks/block-source.js";
import type { ObjectVersion } from "../../src/blocks/object-version.js";
import { Slab } from "../../src/blocks/slab.js";
import { MillraceError } from "../../src/errors.js";
import { bytesOf, FakeStore } from "../unit/cache/fake-store.js";

export const BLOCK = 64 * 1024;

export interface SourceUnderTest {
  read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly (BlockLease | undefined)[]>;
}

export function blockSourceContract(make: (slab: Slab) => SourceUnderTest, mayMiss: boolean): void {
  const setUp = () => {
    const slab = new Slab();
    const store = new FakeStore();
    return { slab, store, source: make(slab), object: store.object("a", 4 * BLOCK + 100) };
  };

  it.each([
    [0, 4 * BLOCK + 100],
    [10, BLOCK - 10],
    [BLOCK, 3 * BLOCK],
    [BLOCK + 1, 3 * BLOCK + 1],
    [4 * BLOCK + 99, 4 * BLOCK + 100],
  ])("gives one lease a block that covers what is needed of it, from byte %i to %i", async (begin, end) => {
    const { slab, store, source, object } = setUp();
    const first = Math.floor(begin / BLOCK);
    const count = Math.ceil(end / BLOCK) - first;
    const leases = await source.read(object, first, count, { begin, end, priority: 0 });
    expect(leases).toHaveLength(count);
    for (const [i, lease] of leases.entries()) {
      if (lease === undefined && mayMiss) continue;
      const needed = [Math.max(begin, (first + i) * BLOCK), Math.min(end, (first + i + 1) * BLOCK)] as const;
      const from = needed[0] - lease!.begin;
      const bytes = lease!.bytes.subarray(from, from + needed[1] - needed[0]);
      expect(Buffer.compare(bytes, bytesOf(store.seed("a"), ...needed))).toBe(0);
      lease!.release();
      lease!.release();
    }
    expect(slab.stats().workingBytes).toBe(0);
  });

  it("holds nothing after a failure", async () => {
    const { slab, store, source, object } = setUp();
    store.failures.push(new MillraceError("MILLRACE_UNAVAILABLE", "later"));
    const result = await source.read(object, 0, 2, { begin: 0, end: 2 * BLOCK, priority: 0 }).catch((error: unknown) => error);
    if (mayMiss) expect(result).toEqual([undefined, undefined]);
    else expect(result).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(slab.stats().workingBytes).toBe(0);
  });

  it("holds nothing after an abort, once its I/O has ended", async () => {
    const { slab, store, source, object } = setUp();
    store.shut();
    const controller = new AbortController();
    const read = source.read(object, 0, 2, { begin: 0, end: 2 * BLOCK, priority: 0, signal: controller.signal });
    controller.abort();
    await expect(read).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(slab.stats().workingBytes).toBe(0);
  });
}
