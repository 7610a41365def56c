import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { borrowedSlot, SLOT_UNIT, Slab, type Slot, slotCost } from "../../../src/blocks/slab.js";
import { adjoinAll } from "../../../src/util/adjoin.js";
import { crc32c } from "../../../src/util/crc32c.js";

const SEGMENT = 16 * SLOT_UNIT;

describe("Slab", () => {
  it("takes no memory before it is needed, and reuses what was freed", () => {
    const slab = new Slab(SEGMENT);
    expect(slab.stats()).toMatchObject({ segmentBytes: 0, slots: 0 });
    const first = slab.allocate(SEGMENT);
    const memory = first.bytes.buffer;
    expect(memory).toBeInstanceOf(SharedArrayBuffer);
    first.release();
    const second = slab.allocate(5);
    expect(second.bytes.buffer).toBe(memory);
    expect(slab.stats()).toMatchObject({
      segmentBytes: SEGMENT,
      workingBytes: SLOT_UNIT,
      wasteBytes: SLOT_UNIT - 5,
      slots: 1,
      workingPeakBytes: SEGMENT,
    });
    second.release();
  });

  it("says which slots lie in memory that was never used", () => {
    const slab = new Slab(SEGMENT);
    const [first, second] = [slab.allocate(2 * SLOT_UNIT), slab.allocate(5)];
    first.release();
    second.release();
    const run = slab.allocateRun([SLOT_UNIT, SLOT_UNIT, SLOT_UNIT, SLOT_UNIT]);
    expect([first, second, ...run].map(({ fresh }) => fresh)).toEqual([true, true, false, false, false, true]);
    expect(slab.allocate(SEGMENT).fresh).toBe(true);
  });

  it("works out a block's checksum once, and a reader's own memory's each time", () => {
    const [block, own] = [new Slab(SEGMENT).allocate(9), borrowedSlot(new Uint8Array(9))];
    const lease = block.lease(0);
    for (const slot of [block, own]) {
      slot.bytes.fill(1);
      expect(slot.checksum).toBe(crc32c(slot.bytes));
      slot.bytes.fill(2);
    }
    expect(lease.checksum).toBe(crc32c(new Uint8Array(9).fill(1)));
    expect(own.checksum).toBe(crc32c(own.bytes));
  });

  it("frees a slot with its last holder, however often a lease is released", () => {
    const slab = new Slab(SEGMENT);
    const slot = slab.allocate(100);
    const [a, b] = [slot.lease(7), slot.lease(7)];
    expect([a.begin, a.bytes.length]).toEqual([7, 100]);
    slot.release();
    a.release();
    a.release();
    a.release();
    expect(slab.stats().slots).toBe(1);
    b.release();
    expect(slab.stats()).toMatchObject({ slots: 0, workingBytes: 0, wasteBytes: 0 });
  });

  it("lays the slots of a run side by side, the first one at the end of its units", () => {
    const slab = new Slab(SEGMENT);
    const run = slab.allocateRun([SLOT_UNIT + 100, 2 * SLOT_UNIT, 5]);
    expect(adjoinAll(run.map(({ bytes }) => bytes)).map(({ length }) => length)).toEqual([3 * SLOT_UNIT + 105]);
    expect(slab.stats()).toMatchObject({ workingBytes: 5 * SLOT_UNIT, wasteBytes: 2 * SLOT_UNIT - 105, slots: 3 });
    run[1]!.release();
    expect(slab.allocate(2 * SLOT_UNIT).bytes.byteOffset).toBe(run[1]!.bytes.byteOffset);
  });

  it("scatters a run over what is free rather than add a segment for it", () => {
    const slab = new Slab(SEGMENT);
    const slots = Array.from({ length: 16 }, () => slab.allocate(SLOT_UNIT));
    for (let i = 0; i < 16; i += 2) slots[i]!.release();
    const run = slab.allocateRun([SLOT_UNIT, SLOT_UNIT, SLOT_UNIT]);
    expect(adjoinAll(run.map(({ bytes }) => bytes))).toHaveLength(3);
    expect(slab.stats()).toMatchObject({ segmentBytes: SEGMENT, fragmentedSegments: 0 });
    for (const slot of [...run, ...slots.filter((_, i) => i % 2 === 1)]) slot.release();
  });

  it("tells those who watch a slot when it is freed, once", () => {
    const slot = new Slab(SEGMENT).allocate(100);
    const freed: string[] = [];
    slot.watch(() => freed.push("a"));
    slot.watch(() => freed.push("b"));
    const lease = slot.lease(0);
    slot.release();
    expect(freed).toEqual([]);
    lease.release();
    expect(freed).toEqual(["a", "b"]);
  });

  it("keeps the tier's account apart from the working one", () => {
    const slab = new Slab(SEGMENT);
    const slot = slab.allocate(SLOT_UNIT + 1);
    slab.enterTier(slot);
    expect(slab.stats()).toMatchObject({ tierBytes: 2 * SLOT_UNIT, workingBytes: 0 });
    slab.leaveTier(slot);
    expect(slab.stats()).toMatchObject({ tierBytes: 0, workingBytes: 2 * SLOT_UNIT });
    slot.release();
  });

  it("never refuses: adds a segment, counted where only the run was missing", () => {
    const slab = new Slab(SEGMENT);
    const slots = Array.from({ length: 16 }, () => slab.allocate(SLOT_UNIT));
    for (let i = 0; i < 16; i += 2) slots[i]!.release();
    const run = slab.allocate(2 * SLOT_UNIT);
    expect(slab.stats()).toMatchObject({ segmentBytes: 2 * SEGMENT, fragmentedSegments: 1 });
    const large = slab.allocate(40 * SLOT_UNIT);
    expect(slab.stats()).toMatchObject({ segmentBytes: 2 * SEGMENT + 40 * SLOT_UNIT, fragmentedSegments: 1 });
    for (const slot of [run, large, ...slots.filter((_, i) => i % 2 === 1)]) slot.release();
    expect(slab.stats().workingBytes).toBe(0);
  });

  it("loses 2 % of the capacity on objects of 110 KB", () => {
    expect(110_000 / slotCost(110_000)).toBeGreaterThan(0.95);
    expect(slotCost(112_640)).toBe(114_688);
  });

  it("never hands out the same byte twice", () => {
    const step = fc.oneof(fc.integer({ min: 1, max: 9 * SLOT_UNIT }), fc.record({ free: fc.nat(30) }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const slab = new Slab(SEGMENT);
        const held: Slot[] = [];
        for (const one of steps) {
          if (typeof one === "number") held.push(slab.allocate(one));
          else if (held.length > 0) held.splice(one.free % held.length, 1)[0]!.release();
        }
        const taken = held.map(({ bytes, cost }) => ({ buffer: bytes.buffer, begin: bytes.byteOffset, end: bytes.byteOffset + cost }));
        for (const [i, a] of taken.entries())
          for (const b of taken.slice(0, i)) expect(a.buffer === b.buffer && a.begin < b.end && b.begin < a.end).toBe(false);
        expect(slab.stats().workingBytes).toBe(held.reduce((sum, slot) => sum + slot.cost, 0));
        for (const slot of held) slot.release();
        expect(slab.stats()).toMatchObject({ workingBytes: 0, slots: 0, wasteBytes: 0 });
        // All free again: the whole of a segment is one run.
        const before = slab.stats().segmentBytes;
        if (before > 0) slab.allocate(SEGMENT).release();
        expect(slab.stats().segmentBytes).toBe(before);
      }),
    );
  });
});
