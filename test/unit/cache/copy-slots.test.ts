/** Whose pages are made ahead, and when the slots are free again. */
import { beforeEach, expect, test, vi } from "vitest";
import { SLOT_UNIT, Slab } from "../../../src/blocks/slab.js";
import { CopySlots } from "../../../src/cache/copy-slots.js";
import type { Wanted } from "../../../src/cache/load-job.js";
import { Flight, Load } from "../../../src/cache/single-flight.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";
import { touchMemory } from "../../../src/util/touch-memory.js";

vi.mock("../../../src/util/touch-memory.js", () => ({ touchMemory: vi.fn() }));
const touch = vi.mocked(touchMemory);
const touched = () => touch.mock.calls.map(([bytes]) => bytes.length / SLOT_UNIT);

const BLOCK = SLOT_UNIT;
const wanted = (count: number, memory = true): Wanted[] =>
  Array.from({ length: count }, (_, block) => {
    const [begin, end] = [block * BLOCK, (block + 1) * BLOCK];
    const placement = { memory, disk: undefined, copy: false };
    return { block, begin, end, placement, flight: new Flight(block, begin, end, new Load(), true) };
  });
const into = (blocks: number) => ({ begin: 0, bytes: new Uint8Array(blocks * BLOCK) });

let touching: Deferred<void>;
beforeEach(() => {
  touching = deferred<void>();
  touch.mockReset().mockImplementation(() => touching.promise);
});

test("memory that was never used is touched, all of it at once; what was used is not", async () => {
  const slab = new Slab(16 * SLOT_UNIT);
  const first = new CopySlots(slab, into(4), wanted(4));
  expect(touched()).toEqual([4]);
  touching.resolve();
  await first.release();
  await new CopySlots(slab, into(6), wanted(6)).release();
  expect(touched()).toEqual([4, 2]);
});

test("only what memory is to hold, and a place is named for, has a slot", () => {
  const slab = new Slab(16 * SLOT_UNIT);
  const all = wanted(4);
  const some = new CopySlots(slab, into(3), all);
  expect(all.map((one) => some.of(one)?.bytes.length)).toEqual([BLOCK, BLOCK, BLOCK, undefined]);
  for (const none of [new CopySlots(slab, undefined, all), new CopySlots(slab, into(4), wanted(4, false))])
    expect(none.of(all[0]!)).toBeUndefined();
  expect(slab.stats().slots).toBe(3);
});

test("slots are not free while they are touched, and are freed once", async () => {
  const slab = new Slab(16 * SLOT_UNIT);
  const all = wanted(2);
  const slots = new CopySlots(slab, into(2), all);
  const kept = slots.of(all[1]!)!;
  kept.retain();
  const released = slots.release();
  await new Promise((resolve) => setImmediate(resolve));
  expect(slab.stats().slots).toBe(2);
  touching.resolve();
  await released;
  await slots.release();
  expect(slab.stats().slots).toBe(1);
  kept.release();
  expect(slab.stats().slots).toBe(0);
});
