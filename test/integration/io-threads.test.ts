/** Reads by I/O threads are reads like any: the same bytes, failures, retries and ends for 1, 2 and 4, plain and over TLS. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { IoPool } from "../../src/engine/io-pool.js";
import { isMillraceError } from "../../src/errors.js";
import { type Dataset, type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { newCounters, withCounters } from "../../src/storage/count.js";
import { Hedger, withHedge } from "../../src/storage/hedge.js";
import { HttpStore } from "../../src/storage/http-store.js";
import { makeDataset, sha256 } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, type Shape, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";
import { runScript } from "../support/script-process.js";

const fields = { image: "bytes", label: "int32" } as const;
/** Records of more than 256 KiB: what is less is read by the engine's thread. */
const made = makeDataset({ format: "tfrecord", samples: 60, shards: 5, bytesPerSample: 300_000 });
const WANTED = made.samples.map(({ sha256: hash, label }) => `${hash} ${label}`).sort();
const LEAST = 262_144;
const BYTES = 4_000_000;
const BODY = Buffer.from(Uint8Array.from({ length: BYTES }, (_, i) => (i * 13) >>> 4));
const SCRIPT = new URL("./fixtures/io-threads-script.ts", import.meta.url);

/** The samples of an epoch, sorted: hash and label of each. */
async function epochOf(dataset: Dataset<typeof fields>): Promise<string[]> {
  const loader = dataset.loader({ batchSize: 10, shuffle: { seed: 2, window: "4MiB" }, lanes: 4, readAhead: "4MiB" });
  const seen: string[] = [];
  for await (const { columns, size } of loader.epoch(0))
    for (let row = 0; row < size; row++) seen.push(`${sha256(columns.image.at(row))} ${columns.label.data[row]}`);
  await loader.close();
  return seen.sort();
}

describe.each([false, true])("TLS %s", (tls) => {
  let origin: Origin;
  const open: Millrace[] = [];
  beforeAll(async () => {
    origin = await startOrigin({ anonymousRead: true, tls });
    await origin.put("b", "o", BODY);
    for (const [key, bytes] of made.objects) await origin.put("set", key, bytes);
  });
  afterEach(async () => {
    for (const mill of open.splice(0)) await mill.close();
    await origin.clearFaults();
    await origin.shape({});
    await origin.reset();
    vi.unstubAllEnvs();
  });
  afterAll(() => origin?.close());

  const optionsOf = (ioThreads: number): MillraceOptions => ({
    engine: { ioThreads },
    cache: { memory: 0, blockSize: "256KiB" },
    s3: s3Options(origin),
  });
  async function datasetBy(ioThreads: number): Promise<{ mill: Millrace; dataset: Dataset<typeof fields>; lines: string[] }> {
    if (tls) vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    const lines: string[] = [];
    const note = (_fields: object, message: string) => lines.push(message);
    const mill = await openMillrace({ ...optionsOf(ioThreads), logger: { debug: note, info: note, warn: note, error: note } });
    open.push(mill);
    return { mill, lines, dataset: await mill.dataset("s3://set/", { fields }) };
  }

  test.each([1, 2, 4])("an epoch by %i threads has each sample once, with its own bytes, each byte fetched once", async (ioThreads) => {
    const { mill, dataset, lines } = await datasetBy(ioThreads);
    await origin.reset();
    expect(await epochOf(dataset)).toEqual(WANTED);
    expect(lines).toEqual(ioThreads === 1 ? [] : [`${ioThreads} I/O threads have started`]);
    const { hedges, retries } = mill.stats().origin as Record<string, number>;
    expect(retries).toBe(0);
    const { bytesSent, keys } = await origin.stats();
    const stored = [...made.objects].reduce((sum, [, { length }]) => sum + length, 0);
    expect(Object.keys(keys).filter((key) => made.objects.has(key.slice("set/".length)))).toHaveLength(made.objects.size);
    if (hedges === 0) expect(bytesSent).toBeLessThanOrEqual(stored * 1.03);
  });

  test.each([1, 2, 4])("%i threads: bodies cut short, refusals and resets cost tries, and no byte is wrong", async (ioThreads) => {
    const { mill, dataset } = await datasetBy(ioThreads);
    expect(await epochOf(dataset)).toEqual(WANTED);
    await origin.shape({ truncateRate: 0.1, resetRate: 0.05, errorRate: 0.05, seed: 5 });
    expect(await epochOf(dataset)).toEqual(WANTED);
    expect(mill.stats().origin!.retries).toBeGreaterThan(0);
    expect((await origin.stats()).faults).toBeGreaterThan(0);
  });

  test("closing in mid-flight ends the reads and the requests", async () => {
    const { mill, dataset } = await datasetBy(2);
    await origin.shape({ connectionBytesPerSecond: 100_000 });
    const reading = epochOf(dataset).catch((error: unknown) => error);
    await vi.waitFor(async () => expect((await origin.stats()).inFlight).toBeGreaterThan(2), IN_TIME);
    await mill.close();
    expect(await reading).toMatchObject({ code: "MILLRACE_CLOSED" });
    await vi.waitFor(async () => expect((await origin.stats()).inFlight).toBe(0), IN_TIME);
  });

  test.each(["close", "leave"])("a process ends by itself (%s), with a certificate trusted by NODE_EXTRA_CA_CERTS", async (end) => {
    const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
    try {
      const ca = join(folder, "ca.pem");
      await writeFile(ca, origin.ca ?? "");
      const { code, lines } = await runScript(
        SCRIPT,
        [JSON.stringify(optionsOf(2)), "s3://set/", end],
        tls ? { NODE_EXTRA_CA_CERTS: ca } : {},
      );
      expect(lines.sort()).toEqual(WANTED);
      expect(code).toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("a read that hangs is hedged from another thread, and only one of the two writes", async () => {
    if (tls) vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    const counters = newCounters();
    const pool = new IoPool(2, () => undefined);
    const store = withHedge(withCounters(new HttpStore(origin.endpoint, {}, pool), counters), new Hedger(counters, 0.05));
    const object = await store.stat("b/o");
    let turn = 0;
    const lane = async (slot: Uint8Array, reads: number): Promise<void> => {
      while (turn < reads) {
        const begin = (turn++ * 7919) % (BYTES - slot.length);
        slot.fill(0xee);
        await store.readInto(object, begin, [slot.subarray(0, 1000), slot.subarray(1000)]);
        expect(BODY.subarray(begin, begin + slot.length).equals(slot)).toBe(true);
      }
    };
    const slots = Array.from({ length: 4 }, () => new Uint8Array(new SharedArrayBuffer(LEAST)));
    const lanes = (reads: number) => Promise.all(slots.map((slot) => lane(slot, reads)));
    await lanes(64);
    for (let hung = 1; hung <= 4; hung++) {
      await origin.failNext(1, "hang", { kind: "get" });
      await lanes(64 + 30 * hung);
    }
    expect((await origin.stats()).faults).toBe(4);
    expect(counters.hedges).toBeGreaterThanOrEqual(4);
    expect(counters.hedgeWins).toBeGreaterThan(0);
    expect(counters.reads).toBe(turn + counters.hedges);
    expect(counters.bytes).toBe(turn * LEAST);
    await store.close!();
    await pool.close();
  });

  test.each<[string, Shape]>([
    ["a sound origin", {}],
    ["one that cuts, stalls, resets and refuses", { truncateRate: 0.15, stallRate: 0.1, resetRate: 0.1, errorRate: 0.1, seed: 3 }],
  ])("aborted and failed reads of %s write nothing once they have settled", async (_name, shape) => {
    if (tls) vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    // A sound one may still stand still for a moment, with all of its machine.
    const timeouts = shape.seed === undefined ? {} : { connectMs: 2000, headMs: 500, stallMs: 300 };
    const pool = new IoPool(2, () => undefined, timeouts);
    const store = new HttpStore(origin.endpoint, timeouts, pool);
    const object = await store.stat("b/o");
    await origin.shape({ ...shape, connectionBytesPerSecond: 20e6 });
    const seen = { whole: 0, aborted: 0, failed: 0 };
    let turn = 0;
    const lane = async (slot: Uint8Array, at: number): Promise<void> => {
      while (turn < 100) {
        const length = LEAST + ((turn++ * 7919) % (slot.length - LEAST));
        const begin = (turn * 104_729) % (BYTES - length);
        const controller = new AbortController();
        if (turn % 2 === 0) setTimeout(() => controller.abort(), (turn * 7) % 15);
        const progress = { received: 0 };
        const error: unknown = await store
          .readInto(object, begin, [slot.subarray(0, length >> 1), slot.subarray(length >> 1, length)], {
            signal: controller.signal,
            progress,
            claim: () => true,
          })
          .catch((thrown: unknown) => thrown);
        // A retry would go on from here.
        expect(BODY.subarray(begin, begin + progress.received).equals(slot.subarray(0, progress.received))).toBe(true);
        if (error === undefined) expect(progress.received).toBe(length);
        if (error === undefined) seen.whole++;
        else if (isMillraceError(error, "MILLRACE_ABORTED")) seen.aborted++;
        else {
          expect(["MILLRACE_UNAVAILABLE", "MILLRACE_TIMEOUT"]).toContain((error as { code?: string }).code);
          seen.failed++;
        }
        // From here on the memory is ours: whoever writes to it now is seen.
        slot.fill(0xee);
        await sleep((turn + at) % 4);
        expect(slot.every((byte) => byte === 0xee)).toBe(true);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, at) => lane(new Uint8Array(new SharedArrayBuffer(2 * LEAST)), at)));
    await store.close();
    await pool.close();
    expect(seen.whole).toBeGreaterThan(0);
    expect(seen.aborted).toBeGreaterThan(0);
    if (shape.seed === undefined) expect(seen.failed).toBe(0);
    else expect(seen.failed).toBeGreaterThan(0);
    await vi.waitFor(async () => expect((await origin.stats()).inFlight).toBe(0), IN_TIME);
  });
});
