import { describe, expect, it } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { Pace } from "../../../src/storage/pace.js";
import { ManualClock } from "../../support/manual-clock.js";
import { seededRandom } from "../../support/origin/shaping.js";
import { type OriginShape, SimulatedOrigin } from "./simulated-origin.js";

const MIB = 2 ** 20;
/** Bytes a millisecond of the connections that S3 gives. */
const CONNECTION = 90e3;

/** Log-normal milliseconds, as first bytes of object stores are. */
function around(median: number, sigma: number, seed: number): () => number {
  const random = seededRandom(seed);
  return () => median * Math.exp(sigma * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

/** Runs, noting the places after each request; gives the middle nine tenths of them and the bytes a millisecond. */
function watch(origin: SimulatedOrigin, requests: number): { least: number; most: number; rate: number } {
  const places: number[] = [];
  const [bytes, now] = [origin.bytes, origin.now];
  for (let i = 0; i < requests; i++) {
    origin.run(1);
    places.push(origin.pace.concurrency);
  }
  places.sort((a, b) => a - b);
  const at = (part: number): number => places[Math.floor(part * places.length)]!;
  return { least: at(0.05), most: at(0.95), rate: (origin.bytes - bytes) / (origin.now - now) };
}

const seeds = [1, 2, 3];

describe("where each connection is capped and nothing else", () => {
  it.each(seeds)("climbs to the ceiling within 100 requests, seed %i", (seed) => {
    const origin = new SimulatedOrigin({ firstByteMs: around(30, 0.3, seed), connectionRate: CONNECTION, objectBytes: 8 * MIB });
    origin.run(100);
    expect(origin.pace.concurrency).toBe(64);
    const { rate } = watch(origin, 2000);
    const possible = (64 * 8 * MIB) / (31 + (8 * MIB) / CONNECTION);
    expect(rate).toBeGreaterThan(0.95 * possible);
  });

  it.each(seeds)("climbs with small objects too, whose bodies come with their heads, seed %i", (seed) => {
    const origin = new SimulatedOrigin({ firstByteMs: around(30, 0.6, seed), objectBytes: 32 * 1024 });
    origin.run(250);
    expect(origin.pace.concurrency).toBe(64);
    const { rate } = watch(origin, 3000);
    // The mean of a log-normal.
    expect(rate).toBeGreaterThan((0.93 * 64 * 32 * 1024) / (30 * Math.exp(0.18)));
    // Whole with the head: says nothing of a connection.
    expect(origin.pace.stats()).toMatchObject({ connectionBytesPerSecond: undefined, spanBytes: 16 * MIB });
  });

  it("keeps to the ceiling, whatever it is", () => {
    for (const ceiling of [1, 2, 3, 5, 11]) {
      const origin = new SimulatedOrigin({ firstByteMs: around(30, 0.3, 1), connectionRate: CONNECTION, objectBytes: 8 * MIB }, ceiling);
      const { least, most } = watch(origin, 500);
      expect(most).toBe(ceiling);
      expect(least).toBeGreaterThanOrEqual(Math.min(4, ceiling));
    }
  });
});

describe("where one pipe is shared", () => {
  it.each([{ connectionRate: CONNECTION }, {}])("settles at the few that fill 50 MB/s within 90 requests: %o", (limits) => {
    const origin = new SimulatedOrigin({ ...limits, firstByteMs: around(30, 0.3, 1), totalRate: 50e3, objectBytes: 16 * MIB });
    origin.run(90);
    const { least, most, rate } = watch(origin, 1000);
    expect(least).toBe(4);
    expect(most).toBe(5);
    expect(rate).toBeGreaterThan(0.98 * 50e3);
  });

  it.each(seeds)("fills 1 GB/s of 90 MB/s connections with no more than half as many again as it takes, seed %i", (seed) => {
    const shape = { totalRate: 1e6, connectionRate: CONNECTION, objectBytes: 8 * MIB };
    const origin = new SimulatedOrigin({ ...shape, firstByteMs: around(30, 0.3, seed) });
    origin.run(200);
    const needed = (shape.totalRate * (31 + shape.objectBytes / CONNECTION)) / shape.objectBytes; // 14.8
    const { least, most, rate } = watch(origin, 3000);
    expect(least).toBeGreaterThan(0.7 * needed);
    expect(most).toBeLessThan(1.5 * needed);
    expect(rate).toBeGreaterThan(0.95 * shape.totalRate);
  });
});

describe("an origin that changes", () => {
  const wide = (firstByteMs: number): OriginShape => ({
    firstByteMs: around(firstByteMs, 0.3, 5),
    totalRate: 300e3,
    objectBytes: MIB,
  });

  it("slower to answer by ten: climbs again, and comes down when that is over", () => {
    const origin = new SimulatedOrigin(wide(10));
    origin.run(300);
    expect(watch(origin, 1000).most).toBeLessThanOrEqual(12);
    origin.shape = wide(100);
    origin.run(400);
    // It takes 300e3 × 108 ÷ MiB = 31.
    const slow = watch(origin, 2000);
    expect(slow.least).toBeGreaterThan(20);
    expect(slow.most).toBeLessThanOrEqual(64);
    expect(slow.rate).toBeGreaterThan(0.9 * 300e3);
    origin.shape = wide(10);
    origin.run(2000);
    const again = watch(origin, 1000);
    expect(again.most).toBeLessThanOrEqual(12);
    expect(again.rate).toBeGreaterThan(0.92 * 300e3);
  });

  it("a pipe that becomes ten times as wide, and narrow again", () => {
    const shape = { firstByteMs: around(30, 0.3, 6), connectionRate: CONNECTION, objectBytes: 8 * MIB };
    const origin = new SimulatedOrigin({ ...shape, totalRate: 100e3 });
    origin.run(200);
    expect(watch(origin, 500).most).toBeLessThanOrEqual(6);
    origin.shape = { ...shape, totalRate: 1e6 };
    origin.run(300);
    expect(watch(origin, 2000).rate).toBeGreaterThan(0.95 * 1e6);
    origin.shape = { ...shape, totalRate: 100e3 };
    origin.run(500);
    const thin = watch(origin, 500);
    expect(thin.most).toBeLessThanOrEqual(6);
    expect(thin.rate).toBeGreaterThan(0.97 * 100e3);
  });

  it("idle time says nothing: what was found stays", () => {
    const origin = new SimulatedOrigin({ firstByteMs: around(30, 0.3, 1), totalRate: 50e3, objectBytes: 8 * MIB });
    origin.run(200);
    const { bytesPerSecond } = origin.pace.stats();
    for (let i = 0; i < 50; i++) {
      origin.busy = false;
      for (let step = 0; step < 4000; step++) origin.step();
      origin.busy = true;
      origin.run(1);
    }
    expect(origin.pace.concurrency).toBeLessThanOrEqual(5);
    expect(origin.pace.stats().bytesPerSecond).toBe(bytesPerSecond);
  });

  it("without a queue nothing is tried", () => {
    const origin = new SimulatedOrigin({ firstByteMs: 30, connectionRate: CONNECTION, objectBytes: 8 * MIB });
    for (let i = 0; i < 40; i++) {
      origin.busy = true;
      origin.step();
      origin.busy = false;
      while (origin.inFlight > 0) origin.step();
    }
    expect(origin.pace.concurrency).toBe(16);
  });
});

describe("SlowDown", () => {
  const slowDown = (retryAfterMs = 0) => new MillraceError("MILLRACE_UNAVAILABLE", "HTTP 503 SlowDown", { retryAfterMs });
  /** Takes 16 requests at once, and refuses more. */
  const crowdedAt16: OriginShape = {
    firstByteMs: around(30, 0.3, 7),
    connectionRate: CONNECTION,
    objectBytes: 8 * MIB,
    refuse: (inFlight) => (inFlight >= 16 ? slowDown() : undefined),
  };

  it("finds the number that the origin bears, with a refusal in 20 requests where a fixed 32 has more than half refused", () => {
    const [paced, fixed] = [new SimulatedOrigin(crowdedAt16), new SimulatedOrigin(crowdedAt16, 64, 32)];
    paced.run(2000);
    fixed.run(2000);
    expect(fixed.refused).toBeGreaterThan(1000);
    expect(paced.refused).toBeLessThan(2000 / 20);
    expect(paced.pace.stats().slowDowns).toBe(paced.refused);
    expect(paced.bytes / paced.now).toBeGreaterThan(0.6 * 16 * ((8 * MIB) / (31 + (8 * MIB) / CONNECTION)));
  });

  it("halves once for one burst, adds one a round, and ends where it was", () => {
    const shape = { ...crowdedAt16, refuse: () => undefined };
    const origin = new SimulatedOrigin(shape);
    origin.run(100);
    expect(origin.pace.concurrency).toBe(64);
    // All that are sent from now on to 64 in flight fail together.
    let burst = true;
    origin.shape = { ...shape, refuse: () => (burst ? slowDown() : undefined) };
    while (origin.refused === 0) origin.step();
    burst = false;
    expect(origin.pace.concurrency).toBe(32);
    const seen = new Set<number>();
    while (origin.pace.concurrency !== 64) {
      origin.run(1);
      seen.add(origin.pace.concurrency);
    }
    expect([...seen]).toEqual(Array.from({ length: 33 }, (_, i) => 32 + i).filter((places) => seen.has(places)));
    expect(seen.size).toBeGreaterThan(30);
    expect(origin.pace.stats().slowDowns).toBeGreaterThan(1);
  });

  it("counts answers to requests that are not its own, as hedges' are", async () => {
    const clock = new ManualClock();
    await clock.advance(1000);
    const pace = new Pace({ ceiling: 64, clock });
    const { concurrency } = pace;
    pace.refused(new MillraceError("MILLRACE_UNAVAILABLE", "reset"), clock.now());
    pace.refused(new Error("the other request has won"), clock.now());
    expect(pace).toMatchObject({ concurrency, pausedMs: 0 });
    pace.refused(slowDown(500), clock.now());
    expect(pace).toMatchObject({ concurrency: concurrency / 2, pausedMs: 500 });
    // Sent before the places were halved: one burst.
    pace.refused(slowDown(), clock.now() - 1);
    expect(pace.concurrency).toBe(concurrency / 2);
    expect(pace.stats().slowDowns).toBe(2);
  });

  it("goes down to one, never to none", () => {
    const origin = new SimulatedOrigin({ ...crowdedAt16, refuse: () => slowDown() });
    origin.run(50);
    expect(origin.pace.concurrency).toBe(1);
  });

  it("Retry-After holds new requests back until then, 30 seconds at most; other failures do not", () => {
    const origin = new SimulatedOrigin({ ...crowdedAt16, refuse: () => slowDown(3_600_000) });
    origin.run(16);
    const { pausedMs } = origin.pace;
    expect(pausedMs).toBeGreaterThan(29_000);
    expect(pausedMs).toBeLessThanOrEqual(30_000);
    const sent = origin.requests;
    const until = origin.now + pausedMs - 1;
    while (origin.now < until) origin.step();
    expect(origin.requests + origin.inFlight).toBe(sent);
    const other = new SimulatedOrigin({ ...crowdedAt16, refuse: () => new MillraceError("MILLRACE_UNAVAILABLE", "reset") });
    other.run(50);
    expect(other.pace.pausedMs).toBe(0);
    expect(other.pace.stats().slowDowns).toBe(0);
    expect(other.pace.concurrency).toBeGreaterThanOrEqual(8);
  });
});

it("tells the bytes that have come, of requests under way too, and no others", () => {
  const pace = new Pace({ ceiling: 8 });
  const [one, refused] = [pace.begin(), pace.begin()];
  const { progress } = one.observed({});
  pace.end(refused, new MillraceError("MILLRACE_UNAVAILABLE", "reset"));
  expect(pace.stats().receivedBytes).toBe(0);
  progress.received += 5;
  expect(pace.stats().receivedBytes).toBe(5);
  pace.end(one);
  expect(pace.stats().receivedBytes).toBe(5);
});

it("is busy while requests are in flight or wait for a place", () => {
  const pace = new Pace({ ceiling: 8 });
  expect(pace.busy).toBe(false);
  const request = pace.begin();
  pace.crowded(true);
  pace.end(request);
  expect(pace.busy).toBe(true);
  pace.crowded(false);
  expect(pace.busy).toBe(false);
});

describe("the span", () => {
  it.each([
    [30, 90, 32],
    [15, 90, 16],
    [30, 20, 16],
    [1, 90, 16],
    [300, 90, 32],
  ])("of %i ms and %i MB/s is %i MiB", (firstByteMs, megabytes, expected) => {
    const origin = new SimulatedOrigin({ firstByteMs, connectionRate: megabytes * 1e3, objectBytes: 8 * MIB });
    expect(origin.pace.stats().spanBytes).toBe(16 * MIB);
    origin.run(40);
    const { spanBytes, latencyMs, connectionBytesPerSecond } = origin.pace.stats();
    expect(spanBytes).toBe(expected * MIB);
    expect(latencyMs).toBeCloseTo(firstByteMs, 0);
    expect(connectionBytesPerSecond! / 1e6 / megabytes).toBeCloseTo(1, 1);
  });
});
