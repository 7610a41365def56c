import { describe, expect, it, vi } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { Limiter, withLimits } from "../../../src/storage/limit.js";
import { memoryStore } from "../../../src/storage/memory-store.js";
import { Pace } from "../../../src/storage/pace.js";
import { Priority, type Urgency } from "../../../src/storage/priority.js";
import type { ReadOptions, Store, StoredObject } from "../../../src/storage/store.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";
import { ManualClock } from "../../support/manual-clock.js";

/** Starts work that ends when told to, and notes the order of starts. */
function starter(limiter: Limiter, pace?: Pace) {
  const started: string[] = [];
  const ends = new Map<string, Deferred<void>>();
  const start = (name: string, priority: Urgency = 0, bytes = 0, signal?: AbortSignal): Promise<void> => {
    const end = deferred<void>();
    ends.set(name, end);
    return limiter.run(pace, { priority, bytes, signal }, () => {
      started.push(name);
      return end.promise;
    });
  };
  const end = async (name: string) => {
    ends.get(name)!.resolve();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { started, start, end };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("Limiter", () => {
  it("comes again for the shorter of two pauses", async () => {
    const clock = new ManualClock();
    const limiter = new Limiter({ concurrency: 8, clock });
    const [long, short] = [new Pace({ ceiling: 8, clock }), new Pace({ ceiling: 8, clock })];
    const slowDown = (retryAfterMs: number) => () =>
      Promise.reject(new MillraceError("MILLRACE_UNAVAILABLE", "slow down", { retryAfterMs }));
    await expect(limiter.run(long, { priority: 0, bytes: 0, signal: undefined }, slowDown(20_000))).rejects.toThrow();
    await expect(limiter.run(short, { priority: 0, bytes: 0, signal: undefined }, slowDown(100))).rejects.toThrow();
    const [first, second] = [starter(limiter, long), starter(limiter, short)];
    void first.start("a");
    void second.start("b");
    await clock.advance(100);
    expect([first.started, second.started]).toEqual([[], ["b"]]);
    await clock.advance(20_000);
    expect(first.started).toEqual(["a"]);
  });

  it("keeps to its part of the limits while several processes share them, one request at least", async () => {
    const clock = new ManualClock();
    const limiter = new Limiter({ concurrency: 8, bandwidth: 1_000_000, clock });
    const { started, start, end } = starter(limiter);
    limiter.divide(4);
    for (const name of ["a", "b", "c", "d"]) void start(name);
    await settle();
    expect(started).toEqual(["a", "b"]);
    limiter.divide(2);
    await settle();
    expect(started).toEqual(["a", "b", "c", "d"]);
    for (const name of ["a", "b", "c", "d"]) await end(name);
    limiter.divide(100);
    expect(limiter.concurrency).toBe(1);
    limiter.divide(4);
    // A part of the bandwidth is 250 bytes a millisecond; of the burst, 1,000 are left of a hundredth part.
    void start("large", 0, 125_000);
    void start("next");
    await clock.advance(495);
    expect(started.slice(4)).toEqual(["large"]);
    await clock.advance(2);
    expect(started.slice(4)).toEqual(["large", "next"]);
  });

  it("lets more run at once when more are allowed, and divides these too", async () => {
    const limiter = new Limiter({ concurrency: 2 });
    const { started, start } = starter(limiter);
    for (const name of ["a", "b", "c", "d"]) void start(name);
    await settle();
    expect(started).toEqual(["a", "b"]);
    limiter.allow(3);
    await settle();
    expect(started).toEqual(["a", "b", "c"]);
    limiter.divide(3);
    limiter.allow(6);
    expect(limiter.concurrency).toBe(2);
    limiter.divide(1);
    await settle();
    expect([started.length, limiter.concurrency]).toEqual([4, 6]);
  });

  it("lets no more run than may, lower priority numbers first, first come first within one", async () => {
    const limiter = new Limiter({ concurrency: 1 });
    const { started, start, end } = starter(limiter);
    for (const [name, priority] of [
      ["a", 0],
      ["p1", 2],
      ["r1", 1],
      ["p2", 2],
      ["d1", 0],
      ["d2", 0],
      ["r2", 1],
    ] as const)
      void start(name, priority);
    await settle();
    expect(limiter.stats()).toEqual({ inFlight: 1, queued: 6 });
    const order = ["a", "d1", "d2", "r1", "r2", "p1", "p2"];
    for (const [i, name] of order.entries()) {
      expect(started).toEqual(order.slice(0, i + 1));
      await end(name);
    }
    expect(limiter.stats()).toEqual({ inFlight: 0, queued: 0 });
  });

  it("keeps one slot in eight for demand", async () => {
    const { started, start } = starter(new Limiter({ concurrency: 16 }));
    for (let i = 0; i < 20; i++) void start(`p${i}`, 2);
    await settle();
    expect(started).toHaveLength(14);
    void start("d1");
    void start("d2");
    void start("d3");
    await settle();
    expect(started.slice(14)).toEqual(["d1", "d2"]);
  });

  it("keeps one place at least for demand, but where there is only one", async () => {
    const few = starter(new Limiter({ concurrency: 3 }));
    for (let i = 0; i < 4; i++) void few.start(`p${i}`, 1);
    void few.start("d");
    await settle();
    expect(few.started).toEqual(["p0", "p1", "d"]);
    const one = starter(new Limiter({ concurrency: 1 }));
    void one.start("p", 1);
    await settle();
    expect(one.started).toEqual(["p"]);
  });

  it("lets a waiter that is raised go next: the last of fifty prefetches, once the loop needs it", async () => {
    const limiter = new Limiter({ concurrency: 1 });
    const { started, start, end } = starter(limiter);
    const priorities = Array.from({ length: 50 }, () => new Priority(2));
    for (const [i, priority] of priorities.entries()) void start(`p${i}`, priority);
    void start("r", 1);
    priorities[49]!.raise(0);
    priorities[48]!.raise(1);
    priorities[1]!.raise(3); // Less urgent than it is: nothing changes.
    for (const name of ["p0", "p49", "p48", "r", "p1", "p2"]) await end(name);
    expect(started).toEqual(["p0", "p49", "p48", "r", "p1", "p2", "p3"]);
    // Raised once it runs, it waits for nothing.
    priorities[0]!.raise(0);
    expect(limiter.stats()).toEqual({ inFlight: 1, queued: 44 });
  });

  it("a raised waiter takes the place that is kept for demand", async () => {
    const { started, start } = starter(new Limiter({ concurrency: 2 }));
    const priority = new Priority(1);
    void start("a", 1);
    void start("b", priority);
    await settle();
    expect(started).toEqual(["a"]);
    priority.raise(0);
    await settle();
    expect(started).toEqual(["a", "b"]);
  });

  it("is not disturbed by a raise of what has left the queue", async () => {
    const limiter = new Limiter({ concurrency: 1 });
    const { started, start, end } = starter(limiter);
    const controller = new AbortController();
    const priority = new Priority(2);
    void start("a");
    const gone = start("gone", priority, 0, controller.signal);
    void start("b", 2);
    controller.abort();
    await expect(gone).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    priority.raise(0);
    expect(limiter.stats()).toEqual({ inFlight: 1, queued: 1 });
    await end("a");
    expect(started).toEqual(["a", "b"]);
  });

  it("takes the aborted out of the queue, and leaves the others", async () => {
    const limiter = new Limiter({ concurrency: 1 });
    const { started, start, end } = starter(limiter);
    void start("a");
    const controller = new AbortController();
    const gone = start("gone", 0, 0, controller.signal);
    void start("b");
    controller.abort();
    await expect(gone).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect(start("never", 0, 0, AbortSignal.abort())).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(limiter.stats()).toEqual({ inFlight: 1, queued: 1 });
    await end("a");
    expect(started).toEqual(["a", "b"]);
  });

  it("gives the slot back when the work fails", async () => {
    const limiter = new Limiter({ concurrency: 1 });
    await expect(
      limiter.run(undefined, { priority: 0, bytes: 0, signal: undefined }, () => Promise.reject(new Error("no"))),
    ).rejects.toThrow("no");
    expect(limiter.stats()).toEqual({ inFlight: 0, queued: 0 });
  });

  it("holds the rate of requests, and sets no timer without a queue", async () => {
    const clock = new ManualClock();
    const limiter = new Limiter({ concurrency: 32, requestsPerSecond: 10, clock });
    const { started, start } = starter(limiter);
    for (let i = 0; i < 25; i++) void start(`r${i}`);
    await settle();
    expect(started).toHaveLength(1);
    await clock.advance(1000);
    expect(started.length).toBeGreaterThanOrEqual(10);
    expect(started.length).toBeLessThanOrEqual(12);
    await clock.advance(2000);
    expect(started).toHaveLength(25);
    expect(clock.pending).toBe(0);
  });

  it("holds the rate of bytes over reads of any size, demand before prefetch", async () => {
    const clock = new ManualClock();
    const { started, start } = starter(new Limiter({ concurrency: 32, bandwidth: 1000, clock }));
    void start("large", 2, 5000);
    void start("prefetch", 2, 100);
    void start("demand", 0, 100);
    await settle();
    expect(started).toEqual(["large"]);
    await clock.advance(4800);
    expect(started).toEqual(["large"]);
    await clock.advance(150);
    expect(started).toEqual(["large", "demand"]);
    await clock.advance(150);
    expect(started).toEqual(["large", "demand", "prefetch"]);
  });

  it("forgets its timer when the last waiter leaves", async () => {
    const clock = new ManualClock();
    const limiter = new Limiter({ concurrency: 32, bandwidth: 1, clock });
    const { start } = starter(limiter);
    void start("first", 0, 1_000_000);
    const controller = new AbortController();
    const waiting = start("second", 0, 1, controller.signal);
    await settle();
    expect(clock.pending).toBe(1);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(clock.pending).toBe(0);
  });
});

describe("the pace of an origin", () => {
  it("bounds what is in flight to it, within the limit of all, and holds up no other origin", async () => {
    const limiter = new Limiter({ concurrency: 12 });
    const slow = starter(limiter, new Pace({ ceiling: 4 }));
    const other = starter(limiter, new Pace({ ceiling: 64 }));
    for (let i = 0; i < 10; i++) void slow.start(`s${i}`);
    for (let i = 0; i < 10; i++) void other.start(`o${i}`);
    await settle();
    expect(slow.started).toEqual(["s0", "s1", "s2", "s3"]);
    expect(other.started).toHaveLength(8);
    expect(limiter.stats()).toEqual({ inFlight: 12, queued: 8 });
    // All twelve are taken: whoever came first goes next.
    await other.end("o0");
    expect([slow.started.length, other.started.length]).toEqual([4, 9]);
    await slow.end("s0");
    expect([slow.started.length, other.started.length]).toEqual([5, 9]);
  });

  it("a Retry-After holds back this origin alone, until then; a timer is left while someone waits, and no longer", async () => {
    const clock = new ManualClock();
    const limiter = new Limiter({ concurrency: 12, clock });
    const pace = new Pace({ ceiling: 12, clock });
    const slow = starter(limiter, pace);
    const other = starter(limiter, new Pace({ ceiling: 12, clock }));
    const refused = limiter.run(pace, { priority: 0, bytes: 0, signal: undefined }, () =>
      Promise.reject(new MillraceError("MILLRACE_UNAVAILABLE", "SlowDown", { retryAfterMs: 2000 })),
    );
    await expect(refused).rejects.toThrow("SlowDown");
    expect(clock.pending).toBe(0);
    const controller = new AbortController();
    const left = slow.start("left", 0, 0, controller.signal);
    void slow.start("s");
    void other.start("o");
    await clock.advance(1999);
    expect([slow.started, other.started]).toEqual([[], ["o"]]);
    controller.abort();
    await expect(left).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await clock.advance(1);
    expect(slow.started).toEqual(["s"]);
    expect(clock.pending).toBe(0);
  });
});

describe("withLimits", () => {
  it("hands the store a number for a priority, and keeps what the caller asked to be told", async () => {
    const seen: (ReadOptions | undefined)[] = [];
    const memory = memoryStore("limits-options");
    const store: Store = {
      uri: "x://y",
      list: () => memory.list(""),
      stat: (path) => memory.stat(path),
      readInto: async (_object, _begin, targets, options) => {
        seen.push(options);
        expect(options!.claim!()).toBe(false);
        options!.progress!.received += targets[0]!.length;
      },
    };
    const pace = new Pace({ ceiling: 8 });
    const object: StoredObject = { path: "k", size: 9, etag: "1", lastModified: undefined };
    const progress = { received: 5 };
    const claim = vi.fn(() => false);
    const { signal } = new AbortController();
    await withLimits(store, new Limiter({ concurrency: 8 }), pace).readInto(object, 0, [new Uint8Array(9)], {
      priority: new Priority(2),
      progress,
      claim,
      signal,
    });
    expect(seen[0]).toMatchObject({ priority: 2, progress, signal });
    expect(progress.received).toBe(14);
    expect(claim).toHaveBeenCalledTimes(1);
    expect(pace.stats().latencyMs).toBeGreaterThanOrEqual(0);
  });

  it("gives reads their priority and bytes, and lets writes pass", async () => {
    const limiter = new Limiter({ concurrency: 32 });
    const run = vi.spyOn(limiter, "run");
    const store = withLimits(memoryStore("limits"), limiter);
    const object = await store.write!(
      "k",
      (async function* () {
        yield new Uint8Array(10);
      })(),
    );
    expect(run).not.toHaveBeenCalled();
    await store.readInto(object, 2, [new Uint8Array(3), new Uint8Array(4)], { priority: 2 });
    await store.stat("k");
    for await (const { path } of store.list("")) expect(path).toBe("k");
    expect(run.mock.calls.map(([, { priority, bytes }]) => [priority, bytes])).toEqual([
      [2, 7],
      [0, 0],
      [0, 0],
    ]);
    expect(limiter.stats()).toEqual({ inFlight: 0, queued: 0 });
  });

  it("ends the listing below when it is left early", async () => {
    const returned = vi.fn();
    const memory = memoryStore("limits-return");
    const store = withLimits(
      {
        uri: "x://y",
        stat: (path) => memory.stat(path),
        readInto: async () => undefined,
        async *list() {
          try {
            for (let i = 0; ; i++) yield { path: String(i), size: 0, etag: "", lastModified: undefined };
          } finally {
            returned();
          }
        },
      },
      new Limiter({ concurrency: 32 }),
    );
    for await (const _ of store.list("")) break;
    expect(returned).toHaveBeenCalledTimes(1);
  });
});
