import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { ReadAheadBudget } from "../../../src/readahead/budget.js";
import type { DepthRule } from "../../../src/readahead/depth.js";
import { type FetchUnit, Scheduler } from "../../../src/readahead/scheduler.js";
import type { Priority } from "../../../src/storage/priority.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";

class TestUnit implements FetchUnit {
  readonly bytes: number;
  readonly name: string;
  readonly fetched: Deferred<void> = deferred();
  signal: AbortSignal | undefined;
  priority: Priority | undefined;
  released = 0;
  readonly #log: string[];

  constructor(name: string, bytes: number, log: string[]) {
    this.name = name;
    this.bytes = bytes;
    this.#log = log;
  }

  fetch(priority: Priority, signal: AbortSignal): Promise<void> {
    this.#log.push(`fetch ${this.name}`);
    this.priority = priority;
    this.signal = signal;
    return this.fetched.promise;
  }

  release(): void {
    this.#log.push(`release ${this.name}`);
    this.released++;
  }
}

class TestDepth implements DepthRule {
  depthBytes: number;
  readonly reason = "test";
  generation = 0;
  /** Generations of the stalls told of. */
  readonly stalls: number[] = [];
  presses = 0;
  constructor(depthBytes: number) {
    this.depthBytes = depthBytes;
  }
  stalled(_milliseconds: number, generation: number): void {
    this.stalls.push(generation);
  }
  pressed(): void {
    this.presses++;
  }
}

let log: string[];
beforeEach(() => {
  log = [];
});
const unitsOf = (...sizes: number[]) => sizes.map((bytes, i) => new TestUnit(`u${i}`, bytes, log));
/** Lets what was settled be noticed. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("the depth", () => {
  test("bounds the bytes ahead, in order of need", () => {
    const units = unitsOf(40, 40, 40, 40);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    expect(log).toEqual(["fetch u0", "fetch u1"]);
    expect(scheduler.stats()).toEqual({ depthBytes: 100, reason: "test", inFlight: 2, aheadBytes: 80, heldBytes: 80 });
    scheduler.pump();
    expect(log).toHaveLength(2);
  });

  test("a unit that is needed makes room for the next, also while it is still under way", () => {
    const units = unitsOf(40, 40, 40, 40);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    void scheduler.need(units[0]!);
    expect(log).toEqual(["fetch u0", "fetch u1", "fetch u2"]);
    expect(scheduler.stats()).toMatchObject({ aheadBytes: 80, heldBytes: 120, inFlight: 3 });
    void scheduler.need(units[0]!); // Needed twice, counted once.
    expect(scheduler.stats().aheadBytes).toBe(80);
  });

  test("a small unit does not pass a large one that has no room yet", () => {
    const units = unitsOf(60, 60, 10);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    expect(log).toEqual(["fetch u0"]);
  });

  test("one unit may always be ahead, however small the depth; none at depth 0", () => {
    const large = unitsOf(1000, 1000);
    new Scheduler(large.values(), new TestDepth(1)).pump();
    expect(log).toEqual(["fetch u0"]);
    log.length = 0;
    new Scheduler(unitsOf(1).values(), new TestDepth(0)).pump();
    expect(log).toEqual([]);
  });

  test("a unit that is not there yet is asked for again at the next pump", () => {
    const units = unitsOf(10, 10);
    const given: (TestUnit | undefined)[] = [units[0], undefined, units[1]];
    const scheduler = new Scheduler(given.values(), new TestDepth(100));
    scheduler.pump();
    expect(log).toEqual(["fetch u0"]);
    scheduler.pump();
    expect(log).toEqual(["fetch u0", "fetch u1"]);
  });

  test("at depth 0 units that were needed are left behind, one by one", () => {
    const units = unitsOf(10, 10, 10);
    let planned = 0;
    function* plan() {
      for (const unit of units) {
        planned++;
        yield unit;
      }
    }
    const scheduler = new Scheduler(plan(), new TestDepth(0));
    for (const [i, unit] of units.entries()) {
      scheduler.pump();
      expect(planned).toBe(i + 1);
      void scheduler.need(unit);
    }
    expect(log).toEqual(["fetch u0", "fetch u1", "fetch u2"]);
  });

  test("a rule that grows lets more go at the next pump", () => {
    const depth = new TestDepth(40);
    const scheduler = new Scheduler(unitsOf(40, 40, 40).values(), depth);
    scheduler.pump();
    depth.depthBytes = 120;
    scheduler.pump();
    expect(log).toEqual(["fetch u0", "fetch u1", "fetch u2"]);
  });
});

describe("stalls", () => {
  const waitFor = async (scheduler: Scheduler, unit: TestUnit) => {
    const waiting = scheduler.need(unit);
    unit.fetched.resolve();
    await waiting;
  };

  test("on a unit that the depth did not hold back are no evidence", async () => {
    const units = unitsOf(40, 40);
    const depth = new TestDepth(100);
    const scheduler = new Scheduler(units.values(), depth);
    scheduler.pump();
    await waitFor(scheduler, units[0]!);
    expect(depth.stalls).toEqual([]);
  });

  test("on a unit that it held back tell of the depth of that time", async () => {
    const units = unitsOf(80, 80, 80);
    const depth = new TestDepth(100);
    const scheduler = new Scheduler(units.values(), depth);
    scheduler.pump();
    await waitFor(scheduler, units[0]!); // makes room for the second, which was held back until now
    depth.generation = 7;
    await waitFor(scheduler, units[1]!);
    expect(depth.stalls).toEqual([0]);
    await waitFor(scheduler, units[2]!);
    expect(depth.stalls).toEqual([0, 0]); // held back before the change, too
  });

  test("on a unit that was needed before its turn count, and a depth that grew by it fetches more at once", async () => {
    const units = unitsOf(40, 40, 40);
    const depth = new TestDepth(40);
    depth.stalled = () => {
      depth.depthBytes = 100;
    };
    const scheduler = new Scheduler(units.values(), depth);
    scheduler.pump();
    await waitFor(scheduler, units[1]!);
    expect(log).toEqual(["fetch u0", "fetch u1", "fetch u2"]);
  });

  test("on a unit that was never planned are no evidence", async () => {
    const [planned, extra] = unitsOf(80, 10);
    const depth = new TestDepth(40);
    const scheduler = new Scheduler([planned!].values(), depth);
    const waiting = scheduler.need(extra!, false);
    extra!.fetched.resolve();
    await waiting;
    expect(depth.stalls).toEqual([]);
  });

  test("of those who prepare are none while the loop has what it needs", async () => {
    const units = unitsOf(80, 80);
    const depth = new TestDepth(100);
    const scheduler = new Scheduler(units.values(), depth, { loopStalled: () => false });
    scheduler.pump();
    await waitFor(scheduler, units[0]!);
    await waitFor(scheduler, units[1]!);
    expect(depth.stalls).toEqual([]);
  });

  test("do not count where the bytes were there", async () => {
    const units = unitsOf(80, 80);
    const depth = new TestDepth(100);
    const scheduler = new Scheduler(units.values(), depth);
    scheduler.pump();
    await waitFor(scheduler, units[0]!);
    units[1]!.fetched.resolve();
    await settle();
    expect(scheduler.need(units[1]!)).toBeUndefined();
    expect(depth.stalls).toEqual([]);
  });
});

describe("the shared budget", () => {
  // 64 MiB: the least there is.
  const budget = () => new ReadAheadBudget({ limitBytes: 1, usedBytes: () => 0 });
  const MIB = 2 ** 20;

  test("bounds what all have ahead; who was refused goes on when another's loop has used something, or has ended", async () => {
    const shared = budget();
    const [mine, others] = [unitsOf(40 * MIB, 20 * MIB), unitsOf(4 * MIB, 4 * MIB, 4 * MIB)];
    const depth = new TestDepth(1000 * MIB);
    const first = new Scheduler(mine.values(), depth, { budget: shared });
    const second = new Scheduler(others.values(), new TestDepth(1000 * MIB), { budget: shared });
    first.pump();
    second.pump();
    expect([first.aheadBytes, second.aheadBytes]).toEqual([60 * MIB, 4 * MIB]);
    expect(depth.presses).toBe(1);
    void first.need(mine[1]!);
    expect([first.aheadBytes, second.aheadBytes]).toEqual([40 * MIB, 12 * MIB]);
    for (const unit of mine) unit.fetched.resolve();
    await first.close();
    await first.close();
    expect(shared.takenBytes).toBe(12 * MIB);
  });

  test("presses again only when what was ahead has come down to the depth", () => {
    const depth = new TestDepth(100);
    const units = unitsOf(40, 40, 40);
    const scheduler = new Scheduler(units.values(), depth, { budget: budget() });
    scheduler.pump();
    scheduler.press("budget");
    depth.depthBytes = 50;
    scheduler.press("budget");
    expect(depth.presses).toBe(1);
    void scheduler.need(units[0]!);
    scheduler.press("budget");
    expect(depth.presses).toBe(2);
  });

  test("never stops a loop: what it needs is fetched, and one unit may be ahead", () => {
    const shared = budget();
    const [hog, units] = [unitsOf(64 * MIB), unitsOf(8 * MIB, 8 * MIB, 8 * MIB)];
    const first = new Scheduler(hog.values(), new TestDepth(64 * MIB), { budget: shared });
    const second = new Scheduler(units.values(), new TestDepth(64 * MIB), { budget: shared });
    first.pump();
    second.pump();
    expect(second.aheadBytes).toBe(8 * MIB);
    for (const unit of units) void second.need(unit);
    expect(log).toEqual(["fetch u0", "fetch u0", "fetch u1", "fetch u2"]);
  });
});

describe("need", () => {
  test("resolves when the bytes are there, and is undefined afterwards", async () => {
    const [unit] = unitsOf(10);
    const depth = new TestDepth(100);
    const scheduler = new Scheduler([unit!].values(), depth);
    scheduler.pump();
    expect(unit!.priority!.value).toBe(1);
    const waiting = scheduler.need(unit!);
    expect(waiting).toBeInstanceOf(Promise);
    unit!.fetched.resolve();
    await waiting;
    expect(scheduler.need(unit!)).toBeUndefined();
    expect(scheduler.stats()).toMatchObject({ inFlight: 0, aheadBytes: 0, heldBytes: 10 });
  });

  test("a unit under way as read-ahead is raised to demand before others are fetched in its place", () => {
    const units = unitsOf(40, 40, 40);
    const scheduler = new Scheduler(units.values(), new TestDepth(80));
    scheduler.pump();
    const { priority } = units[1]!;
    priority!.onRaise(() => log.push(`raise u1 to ${priority!.value}`));
    void scheduler.need(units[1]!);
    void scheduler.need(units[1]!);
    expect(log).toEqual(["fetch u0", "fetch u1", "raise u1 to 0", "fetch u2"]);
    expect([units[0]!.priority!.value, units[2]!.priority!.value]).toEqual([1, 1]);
  });

  test("before its turn a unit is fetched at once, at demand priority, and not again when its turn comes", async () => {
    const units = unitsOf(60, 60, 60);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    const waiting = scheduler.need(units[1]!);
    expect(log).toEqual(["fetch u0", "fetch u1"]);
    expect([units[0]!.priority!.value, units[1]!.priority!.value]).toEqual([1, 0]);
    expect(scheduler.stats()).toMatchObject({ aheadBytes: 60, heldBytes: 120 });
    units[1]!.fetched.resolve();
    await waiting;
    scheduler.done(units[1]!);
    void scheduler.need(units[0]!);
    expect(log).toEqual(["fetch u0", "fetch u1", "release u1", "fetch u2"]);
  });

  test("works at depth 0: progress does not hang on read-ahead", async () => {
    const units = unitsOf(5, 5);
    const scheduler = new Scheduler(units.values(), new TestDepth(0));
    for (const unit of units) {
      const waiting = scheduler.need(unit);
      unit.fetched.resolve();
      await waiting;
      scheduler.done(unit);
    }
    expect(log).toEqual(["fetch u0", "release u0", "fetch u1", "release u1"]);
    expect(scheduler.stats()).toMatchObject({ inFlight: 0, aheadBytes: 0, heldBytes: 0 });
  });

  test("a failed unit fails who needs it, each time, and nobody else", async () => {
    const units = unitsOf(10, 10);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    units[0]!.fetched.reject(new MillraceError("MILLRACE_CORRUPT", "bad"));
    units[1]!.fetched.resolve();
    await settle();
    expect(scheduler.stats().inFlight).toBe(0);
    await expect(scheduler.need(units[0]!)).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
    await expect(scheduler.need(units[0]!)).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
    expect(scheduler.need(units[1]!)).toBeUndefined();
    await scheduler.close();
    expect(log.filter((line) => line.startsWith("release"))).toEqual(["release u1"]);
  });

  test("a failed unit that nobody needs fails silently", async () => {
    const units = unitsOf(10);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    units[0]!.fetched.reject(new Error("nobody hears this"));
    await settle();
    await scheduler.close();
    expect(log).toEqual(["fetch u0"]);
  });
});

describe("the end", () => {
  test("abort reaches every fetch, starts no more and refuses new needs, but gives no memory back", async () => {
    const units = unitsOf(40, 40, 90);
    const scheduler = new Scheduler(units.values(), new TestDepth(100));
    scheduler.pump();
    units[0]!.fetched.resolve();
    const waiting = scheduler.need(units[1]!);
    scheduler.abort();
    expect(units.map(({ signal }) => signal?.aborted)).toEqual([true, true, undefined]);
    units[1]!.fetched.reject(new MillraceError("MILLRACE_ABORTED", "aborted"));
    await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    scheduler.pump();
    expect(() => scheduler.need(units[2]!)).toThrow(expect.objectContaining({ code: "MILLRACE_ABORTED" }));
    expect(log).toEqual(["fetch u0", "fetch u1"]);
  });

  test("close gives back all that was fetched, once, and waits for the I/O under way", async () => {
    const units = unitsOf(10, 10, 10, 10);
    const scheduler = new Scheduler(units.values(), new TestDepth(30));
    scheduler.pump();
    units[0]!.fetched.resolve();
    void scheduler.need(units[0]!);
    await settle();
    scheduler.done(units[0]!);
    units[1]!.fetched.resolve();
    let closed = false;
    const closing = scheduler.close().then(() => {
      closed = true;
    });
    await settle();
    expect(closed).toBe(false);
    expect(units.map(({ released }) => released)).toEqual([1, 1, 0, 0]);
    units[2]!.fetched.resolve(); // An aborted fetch may still succeed: its memory is given back all the same.
    units[3]!.fetched.reject(new MillraceError("MILLRACE_ABORTED", "aborted"));
    await closing;
    expect(units.map(({ released }) => released)).toEqual([1, 1, 1, 0]);
    await scheduler.close();
    expect(units.map(({ released }) => released)).toEqual([1, 1, 1, 0]);
  });
});

test("any order of needs fetches each unit once, keeps to the depth and ends with nothing held", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.nat(300), fc.infiniteStream(fc.nat(4)), async (bytes, depthBytes, jumps) => {
      log = [];
      const units = unitsOf(...bytes);
      for (const unit of units) unit.fetched.resolve();
      const scheduler = new Scheduler(units.values(), new TestDepth(depthBytes));
      scheduler.pump();
      const left = [...units];
      while (left.length > 0) {
        // The loop mostly follows the order of the plan, and jumps ahead of it now and then.
        const [unit] = left.splice(Math.min(jumps.next().value, left.length - 1), 1);
        await scheduler.need(unit!);
        const { aheadBytes } = scheduler.stats();
        expect(aheadBytes).toBeLessThanOrEqual(Math.max(depthBytes, ...bytes));
        if (depthBytes === 0) expect(aheadBytes).toBe(0);
        scheduler.done(unit!);
      }
      expect(log.filter((line) => line.startsWith("fetch"))).toHaveLength(units.length);
      expect(units.every(({ released }) => released === 1)).toBe(true);
      expect(scheduler.stats()).toMatchObject({ aheadBytes: 0, heldBytes: 0 });
    }),
    { numRuns: 200 },
  );
});
