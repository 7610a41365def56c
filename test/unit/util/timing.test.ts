import { getEventListeners } from "node:events";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Progress } from "../../../src/api.js";
import { backoffMs } from "../../../src/util/backoff.js";
import { systemClock } from "../../../src/util/clock.js";
import { deferred } from "../../../src/util/deferred.js";
import { ProgressMeter } from "../../../src/util/progress-meter.js";
import { TokenBucket } from "../../../src/util/token-bucket.js";

describe("backoffMs", () => {
  test("doubles its range at each failure up to the cap", () => {
    const most = (failures: number) => backoffMs(failures, 100, 5_000, () => 1);
    expect([1, 2, 3, 6, 7, 1000].map(most)).toEqual([100, 200, 400, 3200, 5000, 5000]);
    expect(backoffMs(3, 100, 5_000, () => 0)).toBe(0);
    expect(backoffMs(3, 100, 5_000, () => 0.25)).toBe(100);
  });
});

describe("deferred", () => {
  test("settles from outside", async () => {
    const resolved = deferred<number>();
    resolved.resolve(4);
    await expect(resolved.promise).resolves.toBe(4);
    const rejected = deferred<number>();
    rejected.reject(new Error("no"));
    await expect(rejected.promise).rejects.toThrow("no");
  });
});

describe("with time in hand", () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => vi.useRealTimers());

  test("a sleep ends after its time and leaves no listener on its signal", async () => {
    const { signal } = new AbortController();
    const since = systemClock.now();
    const slept = systemClock.sleep(250, signal);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(249);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    await slept;
    expect(systemClock.now() - since).toBe(250);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  test("a sleep that is aborted leaves no timer", async () => {
    const controller = new AbortController();
    const slept = systemClock.sleep(250, controller.signal);
    controller.abort(new Error("enough"));
    await expect(slept).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(vi.getTimerCount()).toBe(0);
    await expect(systemClock.sleep(250, controller.signal)).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("progress is reported at most every 100 ms, and when asked for", () => {
    const seen: Progress[] = [];
    const meter = new ProgressMeter((progress) => seen.push(progress));
    meter.expect(4, 400);
    meter.did(1, 100);
    meter.did(1, 100);
    vi.advanceTimersByTime(100);
    meter.did(1, 100);
    expect(seen.map(({ bytes }) => bytes)).toEqual([100, 300]);
    expect(seen[1]).toEqual({ bytes: 300, totalBytes: 400, objects: 3, totalObjects: 4, bytesPerSecond: 3000, etaSeconds: 100 / 3000 });
    meter.did(1, 100);
    meter.report();
    expect(seen.at(-1)).toMatchObject({ bytes: 400, objects: 4, etaSeconds: 0 });
    expect(new ProgressMeter().progress).toMatchObject({ bytesPerSecond: 0, etaSeconds: 0 });
  });
});

describe("TokenBucket", () => {
  test("lets one large amount pass and makes the next wait for the debt", () => {
    const bucket = new TokenBucket(1000, 100, 0);
    expect(bucket.waitMs(0)).toBe(0);
    bucket.take(600); // The bucket holds 100: 500 of debt.
    expect(bucket.waitMs(0)).toBe(500);
    expect(bucket.waitMs(200)).toBe(300);
    expect(bucket.waitMs(501)).toBe(0);
  });

  test("saves up unused time to its burst only, and waits a millisecond at least", () => {
    const bucket = new TokenBucket(1000, 100, 0);
    expect(bucket.waitMs(1e6)).toBe(0);
    bucket.take(100);
    expect(bucket.waitMs(1e6)).toBe(1);
    expect(bucket.waitMs(1e6 + 0.5)).toBe(0);
  });

  test("an infinite rate never waits", () => {
    const bucket = new TokenBucket(Number.POSITIVE_INFINITY, 100, 0);
    bucket.take(1e15);
    expect(bucket.waitMs(0)).toBe(0);
  });

  test("takes another rate from one moment on, and keeps what it owes", () => {
    const bucket = new TokenBucket(1000, 100, 0);
    bucket.take(600);
    bucket.setRate(250, 300); // 300 of 500 are paid.
    expect(bucket.waitMs(300)).toBe(800);
    bucket.setRate(1000, 700); // 100 of 200.
    expect(bucket.waitMs(700)).toBe(100);
    expect(bucket.waitMs(1e6)).toBe(0);
    bucket.setRate(10, 1e6); // Of the 100 saved, 1 is left.
    bucket.take(2);
    expect(bucket.waitMs(1e6)).toBe(100);
  });

  test("holds its rate over a long run of any amounts", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 20, maxLength: 100 }), (amounts) => {
        const bucket = new TokenBucket(2000, 50, 0);
        let now = 0;
        for (const amount of amounts) {
          for (let wait = bucket.waitMs(now); wait > 0; wait = bucket.waitMs(now)) now += wait;
          bucket.take(amount);
        }
        const total = amounts.reduce((sum, amount) => sum + amount, 0);
        // All but the last amount is paid for, less the burst of 100; each wait may round up to 1 ms.
        expect(now).toBeGreaterThanOrEqual((total - amounts.at(-1)! - 100) / 2 - 1e-6);
        expect(now).toBeLessThanOrEqual(total / 2 + amounts.length);
      }),
    );
  });
});
