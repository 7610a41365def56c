import { describe, expect, it } from "vitest";
import { backoffMs } from "../../../src/util/backoff.js";
import { systemClock } from "../../../src/util/clock.js";
import { TokenBucket } from "../../../src/util/token-bucket.js";

describe("systemClock", () => {
  it("sleeps, and never goes back", async () => {
    const before = systemClock.now();
    await systemClock.sleep(2);
    expect(systemClock.now()).toBeGreaterThan(before);
  });
  it("ends a sleep when the signal fires, before or during", async () => {
    await expect(systemClock.sleep(60_000, AbortSignal.abort())).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    const controller = new AbortController();
    const sleep = systemClock.sleep(60_000, controller.signal);
    controller.abort();
    await expect(sleep).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });
});

describe("backoffMs", () => {
  it("doubles the bound with each failure, up to the cap", () => {
    const bounds = [1, 2, 3, 4, 5].map((failures) => backoffMs(failures, 100, 1000, () => 1));
    expect(bounds).toEqual([100, 200, 400, 800, 1000]);
    expect(backoffMs(5000, 100, 1000, () => 1)).toBe(1000);
  });
  it("draws uniformly below the bound", () => {
    expect(backoffMs(2, 100, 1000, () => 0)).toBe(0);
    expect(backoffMs(2, 100, 1000, () => 0.25)).toBe(50);
  });
});

describe("TokenBucket", () => {
  it("lets one large amount pass and makes the next wait until the debt is paid", () => {
    const bucket = new TokenBucket(1000, 100, 0);
    expect(bucket.waitMs(0)).toBe(0);
    bucket.take(1100);
    expect(bucket.waitMs(0)).toBe(1000);
    expect(bucket.waitMs(400)).toBe(600);
    expect(bucket.waitMs(1001)).toBe(0);
  });
  it("saves up no more than the burst", () => {
    const bucket = new TokenBucket(1000, 100, 0);
    bucket.waitMs(1_000_000);
    bucket.take(200);
    expect(bucket.waitMs(1_000_000)).toBe(100);
  });
  it("never waits without a rate", () => {
    const bucket = new TokenBucket(Number.POSITIVE_INFINITY, 100, 0);
    bucket.take(1e15);
    expect(bucket.waitMs(0)).toBe(0);
  });
});
