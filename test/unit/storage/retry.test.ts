import { describe, expect, it, vi } from "vitest";
import { isMillraceError, MillraceError, type MillraceErrorCode } from "../../../src/errors.js";
import { memoryStore } from "../../../src/storage/memory-store.js";
import { type RetryPolicy, retried, withRetry } from "../../../src/storage/retry.js";
import type { ReadOptions, Store, StoredObject } from "../../../src/storage/store.js";
import { FaultStore } from "../../../src/testing/index.js";
import { ManualClock } from "../../support/manual-clock.js";

const fail = (code: MillraceErrorCode, retryAfterMs?: number) => new MillraceError(code, "it failed", { uri: "x://y", retryAfterMs });

async function* one(bytes: Uint8Array) {
  yield bytes;
}

function policy(more: RetryPolicy = {}): RetryPolicy & { clock: ManualClock } {
  return { clock: new ManualClock(true), random: () => 1, ...more } as RetryPolicy & { clock: ManualClock };
}

describe("retried", () => {
  it("tries six times, waiting twice as long each time, and says so", async () => {
    const bounds = policy();
    const work = vi.fn(() => Promise.reject(fail("MILLRACE_UNAVAILABLE")));
    const error = await retried(bounds, undefined, work).catch((e: unknown) => e);
    expect(work).toHaveBeenCalledTimes(6);
    expect(bounds.clock.sleeps).toEqual([100, 200, 400, 800, 1600]);
    expect(error).toMatchObject({ code: "MILLRACE_UNAVAILABLE", uri: "x://y", message: "it failed; gave up after 6 tries in 3.1 s" });
    expect(isMillraceError((error as Error).cause, "MILLRACE_UNAVAILABLE")).toBe(true);
  });

  it("begins no try after the total time", async () => {
    const bounds = policy({ tries: 1000, baseMs: 1000, capMs: 10_000, totalMs: 60_000 });
    await expect(retried(bounds, undefined, () => Promise.reject(fail("MILLRACE_TIMEOUT")))).rejects.toMatchObject({
      code: "MILLRACE_TIMEOUT",
    });
    expect(bounds.clock.now()).toBeLessThanOrEqual(60_000);
    expect(bounds.clock.now()).toBeGreaterThan(50_000);
  });

  it("waits as long as the origin asks, if that is within the total time", async () => {
    const bounds = policy({ totalMs: 60_000 });
    let calls = 0;
    const work = () => (calls++ === 0 ? Promise.reject(fail("MILLRACE_UNAVAILABLE", 30_000)) : Promise.resolve("done"));
    await expect(retried(bounds, undefined, work)).resolves.toBe("done");
    expect(bounds.clock.sleeps).toEqual([30_000]);
    await expect(
      retried(policy({ totalMs: 20_000 }), undefined, () => Promise.reject(fail("MILLRACE_UNAVAILABLE", 30_000))),
    ).rejects.toThrow(/1 try /);
  });

  it.each(["NOT_FOUND", "PERMISSION", "CHANGED", "CONFIG", "ABORTED", "CLOSED", "CORRUPT"] as const)("does not retry %s", async (name) => {
    const work = vi.fn(() => Promise.reject(fail(`MILLRACE_${name}`)));
    await expect(retried(policy(), undefined, work)).rejects.toMatchObject({ code: `MILLRACE_${name}`, message: "it failed" });
    expect(work).toHaveBeenCalledTimes(1);
  });

  it("does not retry what it does not know", async () => {
    const work = vi.fn(() => Promise.reject(new TypeError("a bug")));
    await expect(retried(policy(), undefined, work)).rejects.toThrow(TypeError);
    expect(work).toHaveBeenCalledTimes(1);
  });

  it("ends its wait when aborted", async () => {
    const controller = new AbortController();
    const clock = new ManualClock();
    const waiting = retried({ clock }, controller.signal, () => Promise.reject(fail("MILLRACE_UNAVAILABLE")));
    await clock.advance(0);
    expect(clock.pending).toBe(1);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(clock.pending).toBe(0);
  });

  it("draws the same jitter for the same seed", async () => {
    const draws = [0.5, 0.25, 0.125];
    const bounds = policy({ random: () => draws.shift()!, tries: 4 });
    await expect(retried(bounds, undefined, () => Promise.reject(fail("MILLRACE_TIMEOUT")))).rejects.toThrow();
    expect(bounds.clock.sleeps).toEqual([50, 50, 50]);
  });
});

describe("withRetry", () => {
  /** Gives `step` bytes of each read, then fails, until all are there. */
  function dripping(memory: Store, step: number) {
    const reads: { begin: number; lengths: number[] }[] = [];
    const store: Store = {
      uri: memory.uri,
      list: (...args) => memory.list(...args),
      stat: (...args) => memory.stat(...args),
      async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}) {
        reads.push({ begin, lengths: targets.map((target) => target.length) });
        if (options.claim?.() === false) return;
        let left = step;
        const part = targets.map((target) => {
          const some = target.subarray(0, left);
          left -= some.length;
          return some;
        });
        await memory.readInto(object, begin, part, { ...options, claim: undefined });
        if (left === 0) throw fail("MILLRACE_UNAVAILABLE");
      },
    };
    return { store, reads };
  }

  it("goes on with the bytes that are missing", async () => {
    const memory = memoryStore("retry-resume");
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
    const object = await memory.write("k", one(bytes));
    const { store, reads } = dripping(memory, 30);
    const onRetry = vi.fn();
    const memoryOf = new Uint8Array(80);
    const progress = { received: 7 };
    const claim = vi.fn(() => true);
    const targets = [memoryOf.subarray(0, 40), memoryOf.subarray(40, 40), memoryOf.subarray(40, 80)];
    await withRetry(store, policy({ onRetry })).readInto(object, 10, targets, { progress, claim });
    expect(memoryOf).toEqual(bytes.slice(10, 90));
    expect(reads).toEqual([
      { begin: 10, lengths: [40, 0, 40] },
      { begin: 40, lengths: [10, 40] },
      { begin: 70, lengths: [20] },
    ]);
    expect(progress.received).toBe(87);
    expect(claim).toHaveBeenCalledTimes(1);
    expect(onRetry).toHaveBeenCalledTimes(2);
  });

  it("does not begin again once the claim was refused", async () => {
    const memory = memoryStore("retry-claim");
    const object = await memory.write("k", one(new Uint8Array(10).fill(1)));
    const { store, reads } = dripping(memory, 5);
    const target = new Uint8Array(10);
    await withRetry(store, policy()).readInto(object, 0, [target], { claim: () => false });
    expect(reads).toHaveLength(1);
    expect(target).toEqual(new Uint8Array(10));
  });

  it("goes on with a listing after the last path, also where the store starts over", async () => {
    const memory = memoryStore("retry-list");
    for (let i = 0; i < 50; i++) await memory.write(`k${String(i).padStart(2, "0")}`, one(new Uint8Array(1)));
    for (const knows of [true, false]) {
      const after: (string | undefined)[] = [];
      const store: Store = {
        ...memory,
        uri: memory.uri,
        stat: (...args) => memory.stat(...args),
        readInto: (...args) => memory.readInto(...args),
        async *list(prefix, options = {}) {
          after.push(options.startAfter);
          let left = after.length * 10;
          for await (const stored of memory.list(prefix, knows ? options : {})) {
            if (left-- === 0) throw fail("MILLRACE_UNAVAILABLE");
            yield stored;
          }
        },
      };
      const paths: string[] = [];
      for await (const { path } of withRetry(store, policy({ tries: 3 })).list("")) paths.push(path);
      expect(paths).toEqual(Array.from({ length: 50 }, (_, i) => `k${String(i).padStart(2, "0")}`));
      expect(after.slice(0, 3)).toEqual(knows ? [undefined, "k09", "k29"] : [undefined, "k09", "k19"]);
    }
  });

  it("gives up on a listing that never gets anywhere", async () => {
    const faulty = new FaultStore(memoryStore("retry-list-dead"), { errorRate: 1 });
    const list = withRetry(faulty, policy({ tries: 3 }))
      .list("")
      [Symbol.asyncIterator]();
    await expect(list.next()).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(faulty.injected).toBe(3);
  });

  it("retries stat, and passes write and close through", async () => {
    const memory = memoryStore("retry-stat");
    const stored = await withRetry(memory).write!("k", one(new Uint8Array(3)));
    let calls = 0;
    const close = vi.fn(async () => undefined);
    const stat = async () => {
      if (calls++ === 0) throw fail("MILLRACE_TIMEOUT");
      return stored;
    };
    const flaky: Store = { uri: memory.uri, list: () => memory.list(""), stat, readInto: async () => undefined, close };
    const store = withRetry(flaky, policy());
    expect(store.write).toBeUndefined();
    expect(await store.stat("k")).toBe(stored);
    await store.close?.();
    expect(close).toHaveBeenCalledTimes(1);
  });
});
