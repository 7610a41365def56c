/** Reads from an origin that fails in every way at once end in the right bytes, with every request accounted for. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { newCounters, type StoreCounters, withCounters } from "../../src/storage/count.js";
import type { HttpTimeouts } from "../../src/storage/http-timeouts.js";
import { Limiter, withLimits } from "../../src/storage/limit.js";
import { openStore } from "../../src/storage/open-store.js";
import { withRetry } from "../../src/storage/retry.js";
import type { Store } from "../../src/storage/store.js";
import { type Origin, type Shape, startOrigin } from "../support/origin/index.js";
import { keys } from "../support/s3-keys.js";

const OBJECTS = 20;
const BYTES = 300_000;
const STEP = 64 * 1024;

let origin: Origin;
const hashes = new Map<string, string>();
const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["b"], anonymousRead: true });
  for (let i = 0; i < OBJECTS; i++) {
    const bytes = Uint8Array.from({ length: BYTES }, (_, at) => (at * (i + 3)) >>> 5);
    hashes.set(`o/${String(i).padStart(2, "0")}`, hash(bytes));
    await origin.put("b", `o/${String(i).padStart(2, "0")}`, bytes);
  }
});
afterAll(() => origin?.close());

/** The store as the engine builds it, with short waits between tries. */
async function guarded(uri: string, counters: StoreCounters, limiter: Limiter, timeouts: HttpTimeouts = {}): Promise<Store> {
  const s3 = { endpoint: origin.endpoint, forcePathStyle: true, credentials: keys(origin) };
  const store = await openStore(uri, { s3, timeouts });
  const onRetry = () => {
    counters.retries++;
  };
  return withRetry(withLimits(withCounters(store, counters), limiter), { tries: 20, baseMs: 1, capMs: 5, onRetry });
}

const SHAPES: readonly [string, Shape][] = [
  ["errors and resets", { errorRate: 0.2, resetRate: 0.1, seed: 5 }],
  ["truncated bodies", { truncateRate: 0.4, seed: 6 }],
  ["hanging and stalled answers", { hangRate: 0.03, stallRate: 0.05, seed: 7 }],
];

for (const [name, shape] of SHAPES)
  for (const scheme of ["s3", "http"])
    it(`${scheme}: ${name}`, async () => {
      await origin.shape(shape);
      const counters = newCounters();
      const limiter = new Limiter({ concurrency: 8 });
      const hasty = { connectMs: 1000, headMs: 300, stallMs: 300 };
      const store = await guarded(scheme === "s3" ? "s3://b" : origin.endpoint, counters, limiter, hasty);
      const prefix = scheme === "s3" ? "" : "b/";
      await Promise.all([...hashes].map(async ([path, expected]) => expect(await readWhole(store, prefix + path)).toBe(expected)));
      expect(counters.errors).toBe(counters.retries);
      expect(counters.retries).toBeGreaterThan(0);
      // Resuming, not starting over: no byte is delivered twice.
      expect(counters.bytes).toBe(OBJECTS * BYTES);
      expect(limiter.stats()).toEqual({ inFlight: 0, queued: 0 });
      await store.close?.();
    });

it("s3: a listing and a write through the same", async () => {
  await origin.shape({ errorRate: 0.3, seed: 8 });
  const store = await guarded("s3://b", newCounters(), new Limiter({ concurrency: 32 }));
  const paths: string[] = [];
  for await (const { path } of store.list("o/")) paths.push(path);
  expect(paths).toEqual([...hashes.keys()]);
  await store.close?.();
});

it("an object that is replaced half-way is MILLRACE_CHANGED, at once", async () => {
  await origin.shape({});
  await origin.put("b", "replaced", new Uint8Array(1000).fill(1));
  const counters = newCounters();
  const store = await guarded("s3://b", counters, new Limiter({ concurrency: 32 }));
  const object = await store.stat("replaced");
  await store.readInto(object, 0, [new Uint8Array(500)]);
  await origin.put("b", "replaced", new Uint8Array(1000).fill(2));
  await expect(store.readInto(object, 500, [new Uint8Array(500)])).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
  expect(counters).toMatchObject({ reads: 2, retries: 0 });
  await store.close?.();
});

it("a dead origin is given up after the tries, and holds nothing", async () => {
  await origin.shape({ errorRate: 1, retryAfterSeconds: 0 });
  const counters = newCounters();
  const limiter = new Limiter({ concurrency: 32 });
  const store = await guarded("s3://b", counters, limiter);
  await expect(store.stat("o/00")).rejects.toMatchObject({
    code: "MILLRACE_UNAVAILABLE",
    message: expect.stringContaining("after 20 tries"),
  });
  expect(counters).toMatchObject({ stats: 20, retries: 19 });
  expect(limiter.stats()).toEqual({ inFlight: 0, queued: 0 });
  await store.close?.();
});

async function readWhole(store: Store, path: string): Promise<string> {
  const object = await store.stat(path);
  const whole = new Uint8Array(object.size);
  for (let at = 0; at < object.size; at += STEP) {
    const span = whole.subarray(at, Math.min(object.size, at + STEP));
    await store.readInto(object, at, [span.subarray(0, 1000), span.subarray(1000)]);
  }
  return hash(whole);
}
