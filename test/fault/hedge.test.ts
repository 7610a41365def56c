/** Requests that hang are asked for again before any time-out, and the memory of a read is written by one of its two requests only. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { openMillrace } from "../../src/index.js";
import { newCounters, withCounters } from "../../src/storage/count.js";
import { Hedger, withHedge } from "../../src/storage/hedge.js";
import { openStore } from "../../src/storage/open-store.js";
import { makeDataset, sha256 } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const BYTES = 2_000_000;
const BODY = Buffer.from(Uint8Array.from({ length: BYTES }, (_, i) => (i * 13) >>> 4));
const made = makeDataset({ format: "tfrecord", samples: 600, shards: 6, bytesPerSample: 20_000 });
/** What a hedger may spend beyond one in twenty. */
const BURST = 8;

let origin: Origin;
const open: { close(): Promise<void> }[] = [];
beforeAll(async () => {
  origin = await startOrigin({ anonymousRead: true });
  await origin.put("b", "o", BODY);
  for (const [key, bytes] of made.objects) await origin.put("set", key, bytes);
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterAll(() => origin?.close());

test.each(["s3", "http"])(
  "%s: reads of which some hang end with the right bytes, each hung one hedged, none tried again",
  async (scheme) => {
    const counters = newCounters();
    const bare = await openStore(scheme === "s3" ? "s3://b" : origin.endpoint, { s3: s3Options(origin) });
    const store = withHedge(withCounters(bare, counters), new Hedger(counters, 0.05));
    open.push({ close: () => store.close!() });
    const object = await store.stat(scheme === "s3" ? "o" : "b/o");
    await origin.reset();
    let received = 0;
    const read = async (slot: Uint8Array, at: number): Promise<void> => {
      const begin = (at * 7919) % (BYTES - slot.length);
      const progress = { received: 0 };
      slot.fill(0xee);
      await store.readInto(object, begin, [slot.subarray(0, 1000), slot.subarray(1000)], { progress });
      expect(progress.received).toBe(slot.length);
      expect(BODY.subarray(begin, begin + slot.length).equals(slot)).toBe(true);
      received += slot.length;
      // From here on the memory is ours: whoever writes to it now is seen by the next to look.
      slot.fill(0xdd);
    };
    const slots = Array.from({ length: 8 }, () => new Uint8Array(new SharedArrayBuffer(30_000)));
    let reads = 0;
    const lanes = (until: number) =>
      Promise.all(
        slots.map(async (slot) => {
          while (reads < until) {
            await read(slot, reads++);
            expect(slot.every((byte) => byte === 0xdd)).toBe(true);
          }
        }),
      );
    await lanes(64);
    for (let hung = 0; hung < 10; hung++) {
      await origin.failNext(1, "hang", { kind: "get" });
      await lanes(reads + 40);
    }
    const stats = await origin.stats();
    expect(stats.faults).toBe(10);
    expect(counters.hedges).toBeGreaterThanOrEqual(10);
    expect(counters.hedgeWins).toBeGreaterThan(0);
    expect(counters.hedges).toBeLessThanOrEqual(BURST + reads / 20);
    expect(counters.reads).toBe(reads + counters.hedges);
    expect(stats.requests).toBeLessThanOrEqual(reads + counters.hedges);
    expect(counters.bytes).toBe(received);
    await vi.waitFor(async () => expect((await origin.stats()).inFlight).toBe(0), IN_TIME);
  },
);

test.each(["inline", "worker"] as const)(
  "an epoch of which some requests hang: each sample once, with its own bytes, in one try (%s)",
  async (engine) => {
    const wanted = new Map(made.samples.map(({ sha256: hash, label }) => [`${hash} ${label}`, 1]));
    const mill = await openMillrace({ engine, cache: { memory: "0", blockSize: "64KiB" }, s3: s3Options(origin) });
    open.push(mill);
    const dataset = await mill.dataset("s3://set/", { fields: { image: "bytes", label: "int32" } });
    const loader = dataset.loader({ batchSize: 10, shuffle: { seed: 2, window: "512KiB" }, lanes: 4, readAhead: "256KiB" });
    const shards = [...made.objects.keys()];
    for (const hung of [[], shards.slice(2)]) {
      // One for each shard: a read that hangs cannot have a hedge that does too.
      for (const prefix of hung) await origin.failNext(1, "hang", { kind: "get", prefix });
      const seen = new Map<string, number>();
      for await (const { columns, size } of loader.epoch(0))
        for (let row = 0; row < size; row++) {
          const id = `${sha256(columns.image.at(row))} ${columns.label.data[row]}`;
          seen.set(id, (seen.get(id) ?? 0) + 1);
        }
      expect(seen).toEqual(wanted);
      expect((await origin.stats()).faults).toBe(hung.length);
    }
    const { kinds } = await origin.stats();
    await vi.waitFor(() => expect(mill.stats().origin!.inFlight).toBe(0), IN_TIME);
    const { requests = 0, hedges = 0, hedgeWins, retries } = mill.stats().origin as Record<string, number>;
    expect(retries).toBe(0);
    expect(hedges).toBeGreaterThanOrEqual(4);
    expect(hedgeWins).toBeGreaterThan(0);
    expect(hedges).toBeLessThanOrEqual(BURST + (requests - hedges) / 20);
    // One that was outrun before it was sent never arrived.
    expect(kinds.get).toBeLessThanOrEqual(requests);
  },
);
