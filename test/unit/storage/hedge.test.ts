import { afterEach, describe, expect, test } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { newCounters, type StoreCounters, withCounters } from "../../../src/storage/count.js";
import { Hedger, withHedge } from "../../../src/storage/hedge.js";
import type { ReadOptions, Store } from "../../../src/storage/store.js";
import type { Clock } from "../../../src/util/clock.js";
import { deferred } from "../../../src/util/deferred.js";
import { ManualClock } from "../../support/manual-clock.js";

const OBJECT = { path: "o", size: 1000, etag: '"v"', lastModified: undefined };
/** First-byte time of the reads that the hedger learns from: late is 100 ms. */
const USUAL_MS = 50;
const LATE_MS = 100;
const slow = () => new MillraceError("MILLRACE_TIMEOUT", "no answer in time");

/** One request, answered step by step. */
class Request {
  readonly options: ReadOptions;
  readonly target: Uint8Array;
  readonly #done = deferred<void>();
  readonly promise: Promise<void> = this.#done.promise;
  /** True where it had the claim. */
  claimed: boolean | undefined;

  constructor(target: Uint8Array, options: ReadOptions) {
    this.target = target;
    this.options = options;
  }

  get aborted(): boolean {
    return this.options.signal!.aborted;
  }

  head(): boolean {
    this.claimed = this.options.claim!();
    if (!this.claimed) this.#done.resolve();
    return this.claimed;
  }

  body(bytes: number, value: number): void {
    const { progress } = this.options;
    this.target.fill(value, progress!.received, progress!.received + bytes);
    progress!.received += bytes;
  }

  answer(value: number): void {
    if (!this.head()) return;
    this.body(this.target.length, value);
    this.#done.resolve();
  }

  end(): void {
    this.#done.resolve();
  }

  /** What a store does upon an abort, when its socket is closed. */
  fail(error: Error = this.options.signal!.reason as Error): void {
    this.#done.reject(error);
  }
}

interface Bench<C> {
  readonly clock: C;
  readonly counters: StoreCounters;
  readonly store: Store;
  readonly requests: Request[];
  /** Failures that reads have hidden, and when their requests were sent. */
  readonly refusals: readonly (readonly [error: unknown, sentAt: number])[];
  /** Reads, and lets the test see how it ended. */
  read(options?: ReadOptions): { readonly target: Uint8Array; outcome: unknown };
  flush(): Promise<void>;
}

const open: Store[] = [];
afterEach(async () => {
  for (const store of open.splice(0)) await store.close?.();
});

function bench<C extends Clock>(clock: C): Bench<C> {
  const counters = newCounters();
  const requests: Request[] = [];
  const refusals: [error: unknown, sentAt: number][] = [];
  const bare: Store = {
    uri: "s3://b",
    list: () => ({ [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }) }),
    stat: async () => OBJECT,
    readInto: (_object, _begin, [target], options) => {
      requests.push(new Request(target!, options!));
      return requests.at(-1)!.promise;
    },
  };
  const store = withHedge(
    withCounters(bare, counters),
    new Hedger(counters, 0.05, { refused: (error, sentAt) => refusals.push([error, sentAt]) }, clock),
  );
  open.push(store);
  const flush = () => new Promise<void>((resolve) => setImmediate(resolve));
  const read: Bench<C>["read"] = (options) => {
    const result: { target: Uint8Array; outcome: unknown } = { target: new Uint8Array(8), outcome: "pending" };
    store.readInto(OBJECT, 0, [result.target], options).then(
      () => {
        result.outcome = "done";
      },
      (error: unknown) => {
        result.outcome = error;
      },
    );
    return result;
  };
  return { clock, counters, store, requests, refusals, read, flush };
}

/** A bench whose hedger knows what is usual, and has made `reads` reads: 160 earn the most that is saved up. */
async function learnt(reads = 160): Promise<Bench<ManualClock>> {
  const made = bench(new ManualClock());
  const results = Array.from({ length: reads }, () => made.read());
  await made.clock.advance(USUAL_MS);
  for (const request of made.requests) request.answer(1);
  await made.flush();
  expect(results.every(({ outcome }) => outcome === "done")).toBe(true);
  made.requests.length = 0;
  Object.assign(made.counters, newCounters());
  return made;
}

describe("withHedge: one read", () => {
  test("is not hedged before the hedger knows what is usual", async () => {
    const { clock, requests, read } = bench(new ManualClock());
    read();
    await clock.advance(100_000);
    expect(requests).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  test("is not hedged where its head comes in time, however long the body takes", async () => {
    const { clock, requests, read, counters, flush } = await learnt();
    const result = read();
    await clock.advance(LATE_MS - 1);
    requests[0]!.head();
    await clock.advance(100_000);
    requests[0]!.body(8, 7);
    requests[0]!.end();
    await flush();
    expect(result).toEqual({ target: new Uint8Array(8).fill(7), outcome: "done" });
    expect(counters).toMatchObject({ reads: 1, hedges: 0, hedgeWins: 0 });
    expect(clock.pending).toBe(0);
  });

  test("is sent again when its head is late; the first head wins, and the other is aborted unread", async () => {
    const { clock, requests, read, counters, flush } = await learnt();
    const progress = { received: 100 };
    let claims = 0;
    const claim = () => {
      claims++;
      return true;
    };
    const result = read({ progress, claim });
    await clock.advance(LATE_MS - 1);
    expect(requests).toHaveLength(1);
    await clock.advance(1);
    expect(requests).toHaveLength(2);
    expect(requests.map(({ aborted }) => aborted)).toEqual([false, false]);
    requests[1]!.answer(2);
    expect(requests.map(({ aborted }) => aborted)).toEqual([true, false]);
    await flush();
    expect(result.outcome).toBe("pending");
    requests[0]!.fail();
    await flush();
    expect(result).toEqual({ target: new Uint8Array(8).fill(2), outcome: "done" });
    expect(progress.received).toBe(108);
    expect(claims).toBe(1);
    expect(counters).toMatchObject({ reads: 2, bytes: 8, hedges: 1, hedgeWins: 1 });
  });

  test("keeps the first request where that answers first, late as it is; the hedge's head is refused", async () => {
    const { clock, requests, read, counters, flush } = await learnt();
    const result = read();
    await clock.advance(LATE_MS);
    requests[0]!.answer(1);
    expect(requests[1]!.head()).toBe(false);
    await flush();
    expect(result).toEqual({ target: new Uint8Array(8).fill(1), outcome: "done" });
    expect(counters).toMatchObject({ reads: 2, bytes: 8, hedges: 1, hedgeWins: 0 });
  });

  test("is hedged once only", async () => {
    const { clock, requests, read } = await learnt();
    read();
    await clock.advance(100_000);
    expect(requests).toHaveLength(2);
    expect(clock.pending).toBe(0);
  });

  test("fails as its winner does in the body, with what has come", async () => {
    const { clock, requests, read, flush } = await learnt();
    const progress = { received: 0 };
    const result = read({ progress });
    await clock.advance(LATE_MS);
    requests[1]!.head();
    requests[1]!.body(3, 5);
    const broken = slow();
    requests[1]!.fail(broken);
    requests[0]!.fail();
    await flush();
    expect(result.outcome).toBe(broken);
    expect(progress.received).toBe(3);
  });

  test("goes on where the one request fails and the other may yet answer", async () => {
    for (const [failing, other] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const { clock, requests, read, flush } = await learnt();
      const result = read();
      await clock.advance(LATE_MS);
      requests[failing]!.fail(slow());
      await flush();
      expect(requests[other]!.aborted).toBe(false);
      requests[other]!.answer(9);
      await flush();
      expect(result).toEqual({ target: new Uint8Array(8).fill(9), outcome: "done" });
    }
  });

  test("both failed: the first error", async () => {
    const { clock, requests, read, flush } = await learnt();
    const result = read();
    await clock.advance(LATE_MS);
    const first = slow();
    requests[1]!.fail(first);
    await flush();
    expect(result.outcome).toBe("pending");
    requests[0]!.fail(slow());
    await flush();
    expect(result.outcome).toBe(first);
  });

  test("ends at once where the answer is one that no other request can mend", async () => {
    const { clock, requests, read, flush } = await learnt();
    const result = read();
    await clock.advance(LATE_MS);
    const changed = new MillraceError("MILLRACE_CHANGED", "changed");
    requests[1]!.fail(changed);
    await flush();
    expect(requests[0]!.aborted).toBe(true);
    expect(result.outcome).toBe("pending");
    requests[0]!.fail();
    await flush();
    expect(result.outcome).toBe(changed);
  });

  test("fails at once where it fails before it is late", async () => {
    const { clock, requests, read, flush } = await learnt();
    const result = read();
    const error = slow();
    requests[0]!.fail(error);
    await flush();
    expect(result.outcome).toBe(error);
    await clock.advance(100_000);
    expect(requests).toHaveLength(1);
  });

  test("ends without a write where the caller's claim is refused", async () => {
    const { clock, requests, read, flush } = await learnt();
    const result = read({ claim: () => false });
    await clock.advance(LATE_MS);
    requests[1]!.answer(3);
    expect(requests[0]!.aborted).toBe(true);
    requests[0]!.fail();
    await flush();
    expect(result).toEqual({ target: new Uint8Array(8), outcome: "done" });
  });

  test("takes an abort to both requests, and settles after both", async () => {
    const { clock, requests, read, flush } = await learnt();
    const controller = new AbortController();
    const result = read({ signal: controller.signal });
    await clock.advance(LATE_MS);
    const reason = new Error("stop");
    controller.abort(reason);
    expect(requests.map(({ options }) => options.signal!.reason)).toEqual([reason, reason]);
    requests[1]!.fail();
    await flush();
    expect(result.outcome).toBe("pending");
    requests[0]!.fail();
    await flush();
    expect(result.outcome).toBe(reason);
  });

  test("is not hedged once it was aborted, and not sent at all where it was before", async () => {
    const { clock, requests, read, flush } = await learnt();
    const controller = new AbortController();
    read({ signal: controller.signal });
    controller.abort();
    await clock.advance(100_000);
    expect(requests).toHaveLength(1);
    const result = read({ signal: controller.signal });
    await flush();
    expect(result.outcome).toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(requests).toHaveLength(1);
  });

  test("aborts no other read's request, also where its own first one has ended before", async () => {
    const { clock, requests, read, flush } = await learnt();
    const result = read();
    await clock.advance(LATE_MS);
    requests[0]!.fail(slow());
    await flush();
    const other = read();
    requests[1]!.answer(4);
    expect(requests[2]!.aborted).toBe(false);
    requests[2]!.answer(5);
    await flush();
    expect([result, other].map(({ target, outcome }) => [target[0], outcome])).toEqual([
      [4, "done"],
      [5, "done"],
    ]);
  });

  describe("that hides the failure of one of its requests tells the pace of it", () => {
    const slowDown = () => new MillraceError("MILLRACE_UNAVAILABLE", "HTTP 503 SlowDown", { retryAfterMs: 0 });

    test("when the other one has its answer", async () => {
      const { clock, requests, refusals, read, flush } = await learnt();
      const sentAt = clock.now();
      const error = slowDown();
      const result = read();
      await clock.advance(LATE_MS);
      requests[0]!.fail(error);
      await flush();
      expect(refusals).toEqual([]);
      requests[1]!.head();
      expect(refusals).toEqual([[error, sentAt]]);
      requests[1]!.body(8, 3);
      requests[1]!.end();
      await flush();
      expect(result.outcome).toBe("done");
      expect(refusals).toHaveLength(1);
    });

    test("when it comes after the other's answer", async () => {
      const { clock, requests, refusals, read, flush } = await learnt();
      const sentAt = clock.now();
      const error = slowDown();
      read();
      await clock.advance(LATE_MS);
      requests[0]!.answer(3);
      requests[1]!.fail(error);
      await flush();
      expect(refusals).toEqual([[error, sentAt + LATE_MS]]);
    });

    test("once for each, where both have failed: the read itself fails with one of them", async () => {
      const { clock, requests, refusals, read, flush } = await learnt();
      const errors = [slowDown(), slowDown()];
      const result = read();
      await clock.advance(LATE_MS);
      requests[0]!.fail(errors[0]);
      requests[1]!.fail(errors[1]);
      await flush();
      expect(new Set([result.outcome, ...refusals.map(([error]) => error)])).toEqual(new Set(errors));
      expect(refusals).toHaveLength(1);
    });

    test("and of no failure that the read itself has", async () => {
      const { clock, requests, refusals, read, flush } = await learnt();
      read();
      await clock.advance(LATE_MS - 1);
      requests[0]!.fail(slowDown());
      await flush();
      expect(refusals).toEqual([]);
    });
  });

  test("leaves no listener on the caller's signal", async () => {
    const { clock, requests, read, flush } = await learnt();
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...all: Parameters<typeof add>) => {
      listeners++;
      add(...all);
    };
    signal.removeEventListener = (...all: Parameters<typeof remove>) => {
      listeners--;
      remove(...all);
    };
    read({ signal });
    expect(listeners).toBe(1);
    await clock.advance(LATE_MS);
    requests[0]!.answer(1);
    requests[1]!.fail();
    await flush();
    expect(listeners).toBe(0);
  });
});

describe("withHedge: the origin", () => {
  test("is asked for one more in twenty reads at most, and eight at once", async () => {
    const { clock, requests, read, counters } = await learnt();
    for (let i = 0; i < 100; i++) read();
    await clock.advance(100_000);
    expect(counters.hedges).toBe(8);
    expect(requests).toHaveLength(108);
    for (let i = 0; i < 19; i++) read();
    await clock.advance(100_000);
    expect(counters.hedges).toBe(8);
    read();
    await clock.advance(100_000);
    expect(counters.hedges).toBe(9);
    expect(clock.pending).toBe(0);
  });

  test("has the oldest of its late reads hedged when there is a hedge again", async () => {
    const { clock, requests, read, flush } = await learnt();
    const late = Array.from({ length: 9 }, () => read());
    await clock.advance(LATE_MS);
    expect(requests).toHaveLength(17);
    for (let i = 0; i < 20; i++) read();
    await clock.advance(1);
    expect(requests.slice(9, 17).map(({ target }) => target)).toEqual(late.slice(0, 8).map(({ target }) => target));
    expect(requests.at(-1)!.target).toBe(late[8]!.target);
    await flush();
  });

  test("is judged by what its losers took too, as far as they were waited for", async () => {
    const { clock, requests, read, flush } = await learnt();
    for (let i = 0; i < 5; i++) {
      read();
      await clock.advance(LATE_MS);
      await clock.advance(USUAL_MS);
      requests.pop()!.answer(1);
      requests.pop()!.fail();
    }
    for (let i = 0; i < 54; i++) read();
    await clock.advance(USUAL_MS);
    for (const request of requests.splice(0)) request.answer(1);
    await flush();
    // Of 224 measurements five are of 150 ms: the first is what 98 % keep to.
    read();
    await clock.advance(LATE_MS + USUAL_MS - 1);
    expect(requests).toHaveLength(1);
    await clock.advance(1);
    expect(requests).toHaveLength(2);
  });

  test("is believed to be as slow as it has become", async () => {
    const { clock, requests, read, counters, flush } = await learnt();
    for (let round = 0; round < 256; round++) {
      read();
      await clock.advance(10 * USUAL_MS);
      for (const request of requests.splice(0)) request.answer(1);
      await flush();
    }
    const before = counters.hedges;
    expect(before).toBeLessThanOrEqual(8 + 256 / 20);
    for (let round = 0; round < 50; round++) {
      read();
      await clock.advance(10 * USUAL_MS);
      for (const request of requests.splice(0)) request.answer(1);
      await flush();
    }
    expect(counters.hedges).toBe(before);
  });

  test("is not asked again because this thread was busy: a timer that is late waits for what lies unread", async () => {
    let now = 0;
    const sleeps: number[] = [];
    const busy: Clock = {
      now: () => now,
      sleep: async (ms) => {
        sleeps.push(ms);
        now += sleeps.length === 1 ? ms + 300 : ms;
        if (sleeps.length === 2) requests[0]!.answer(1);
      },
    };
    const { requests, read, flush, counters } = bench(busy);
    for (let i = 0; i < 32; i++) read();
    now += USUAL_MS;
    for (const request of requests.splice(0)) request.answer(1);
    const result = read();
    await flush();
    expect(sleeps).toEqual([LATE_MS, 1]);
    expect(result.outcome).toBe("done");
    expect(counters.hedges).toBe(0);
  });

  test("is not hedged any more after close, which leaves no timer", async () => {
    const { clock, requests, read, store } = await learnt();
    read();
    expect(clock.pending).toBe(1);
    await store.close!();
    expect(clock.pending).toBe(0);
    read();
    await clock.advance(100_000);
    expect(requests).toHaveLength(2);
  });
});
