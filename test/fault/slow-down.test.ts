/** An origin that asks for fewer requests gets fewer, and all is read in the end. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type Millrace, openMillrace } from "../../src/index.js";
import { newCounters, withCounters } from "../../src/storage/count.js";
import { Limiter, withLimits } from "../../src/storage/limit.js";
import { openStore } from "../../src/storage/open-store.js";
import { Pace } from "../../src/storage/pace.js";
import { withRetry } from "../../src/storage/retry.js";
import { makeDataset, sha256 } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { ManualClock } from "../support/manual-clock.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const made = makeDataset({ format: "tfrecord", samples: 300, shards: 3, bytesPerSample: 20_000 });
const [shard] = made.objects.keys();
const READS = 150;
const STEP = 10_000;

let origin: Origin;
const mills: Millrace[] = [];
beforeAll(async () => {
  origin = await startOrigin();
  for (const [key, bytes] of made.objects) await origin.put("set", `train/${key}`, bytes);
});
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await origin.shape({});
  await origin.reset();
});
afterAll(() => origin?.close());

/** Reads a shard ahead in many requests while the origin refuses everything for a while, on a clock of its own; gives how often it did. */
async function refusals(clock: ManualClock, limiter: Limiter, pace: Pace | undefined): Promise<number> {
  const bare = await openStore("s3://set", { s3: s3Options(origin) });
  const store = withRetry(withLimits(withCounters(bare, newCounters()), limiter, pace), { clock });
  const object = await store.stat(`train/${shard}`);
  const bytes = new Uint8Array(READS * STEP);
  await origin.shape({ errorRate: 1, errorStatus: 503, retryAfterSeconds: 2 });
  await origin.reset();
  let done = false;
  const reads = Promise.all(
    Array.from({ length: READS }, (_, i) => store.readInto(object, i * STEP, [bytes.subarray(i * STEP, (i + 1) * STEP)], { priority: 1 })),
  ).finally(() => {
    done = true;
  });
  // Whoever does not hold back has sent everything once.
  await vi.waitFor(async () => {
    expect((await origin.stats()).statuses[503]).toBeGreaterThan(0);
    expect(limiter.stats().inFlight).toBe(0);
  }, IN_TIME);
  await origin.shape({});
  while (!done) await clock.advance(100);
  await reads;
  await store.close?.();
  expect(Buffer.compare(bytes, made.objects.get(shard!)!.subarray(0, bytes.length))).toBe(0);
  return (await origin.stats()).statuses[503]!;
}

test("Retry-After: what is queued waits too, where a fixed number in flight has every request refused", async () => {
  const clock = new ManualClock();
  const pace = new Pace({ ceiling: 64, clock });
  const paced = await refusals(clock, new Limiter({ concurrency: 64, clock }), pace);
  const fixed = await refusals(clock, new Limiter({ concurrency: 32, clock }), undefined);
  // The 16 in flight at the first refusal, and a few more.
  expect(paced).toBeLessThanOrEqual(24);
  expect(pace.stats().slowDowns).toBe(paced);
  expect(fixed).toBeGreaterThanOrEqual(READS);
});

test("an epoch under SlowDown is whole; the mill counts the answers and sends fewer at once", async () => {
  const mill = await openMillrace({ engine: "inline", cache: { memory: "0", blockSize: "64KiB" }, s3: s3Options(origin) });
  mills.push(mill);
  const dataset = await mill.dataset("s3://set/train", { fields: { image: "bytes", label: "int32" } });
  const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 2, window: "1MiB" } });
  await origin.reset();
  await origin.shape({ errorRate: 0.3, errorStatus: 503, seed: 11 });
  const seen = new Set<string>();
  for await (const { columns, size } of loader.epoch(0)) for (let row = 0; row < size; row++) seen.add(sha256(columns.image.at(row)));
  expect(seen).toEqual(new Set(made.samples.map((sample) => sample.sha256)));
  const { statuses, inFlightMax } = await origin.stats();
  await expect.poll(() => mill.stats().origin!.slowDowns, IN_TIME).toBe(statuses[503]);
  expect(statuses[503]).toBeGreaterThan(0);
  expect(inFlightMax).toBeLessThanOrEqual(16);
  expect(mill.stats().origin!.concurrency).toBeLessThan(8);
});
