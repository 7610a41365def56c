/** Prefetching: what it brings, what it reports, and how it is steered; requests counted at the origin. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace, type Progress } from "../../src/index.js";
import { makeDataset } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const MIB = 2 ** 20;
const OBJECTS = 12;
const made = makeDataset({ format: "tfrecord", samples: 400, shards: 4, bytesPerSample: 20_000 });
const fields = { image: "bytes", label: "int32" } as const;

let origin: Origin;
const mills: Millrace[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  mills.push(
    await openMillrace({
      engine: "inline",
      cache: { memory: "64MiB" },
      s3: s3Options(origin),
      mounts: { "/m": "s3://data/root" },
      ...options,
    }),
  );
  return mills.at(-1)!;
};

beforeAll(async () => {
  origin = await startOrigin();
  for (let i = 0; i < OBJECTS; i++) await origin.put("data", `root/${i % 2 ? "odd" : "even"}/${i}.bin`, new Uint8Array(MIB + i));
  for (const [key, bytes] of made.objects) await origin.put("set", `train/${key}`, bytes);
});
beforeEach(async () => {
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(() => origin.close());

/** Requests that wait for the limits now; a call that asks no origin brings the figures up to date. */
const queued = async (mill: Millrace) => {
  await mill.stat("/m/odd/1.bin");
  return mill.stats().origin!.queued;
};
const even = [0, 2, 4, 6, 8, 10].reduce((sum, i) => sum + MIB + i, 0);
const all = Array.from({ length: OBJECTS }, (_, i) => MIB + i).reduce((a, b) => a + b, 0);

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  test("a prefix: counted strictly, and read afterwards without a request", async () => {
    const mill = await open({ engine });
    const seen: Progress[] = [];
    const job = mill.prefetch("/m/even", { onProgress: (progress) => seen.push(progress) });
    expect(await job.done).toEqual({ objects: 6, bytes: even, alreadyCached: 0, failures: [] });
    expect(job.progress).toEqual(seen.at(-1));
    expect(job.progress).toMatchObject({ objects: 6, totalObjects: 6, bytes: even, totalBytes: even, etaSeconds: 0 });
    expect((await origin.stats()).bytesSent).toBe(even);
    await origin.reset();
    expect(await mill.readFile("/m/even/4.bin")).toHaveLength(MIB + 4);
    expect(await mill.prefetch("/m/even").done).toEqual({ objects: 6, bytes: 0, alreadyCached: even, failures: [] });
    expect((await origin.stats()).kinds).toMatchObject({ get: 0 });
    expect(await mill.prefetch("/m").done).toEqual({ objects: 12, bytes: all - even, alreadyCached: even, failures: [] });
  });

  test("paused before it began, it reads nothing; resumed, all; paused again, no more than is under way", async () => {
    const mill = await open({ engine });
    const job = mill.prefetch("/m");
    job.pause();
    await mill.stat("/m/even/0.bin"); // Round trips through the engine.
    await mill.prefetch("/m/odd/1.bin").done;
    await origin.reset();
    await mill.stat("/m/even/2.bin");
    expect((await origin.stats()).kinds.get).toBe(0);
    await origin.shape({ firstByteMs: 20 });
    job.resume();
    await expect.poll(() => job.progress.bytes, IN_TIME).toBeGreaterThan(0);
    job.pause();
    await expect.poll(async () => (await origin.stats()).inFlight, IN_TIME).toBe(0);
    job.resume();
    expect(await job.done).toEqual({ objects: 12, bytes: all - MIB - 1, alreadyCached: MIB + 1, failures: [] });
  });

  test("cancel and signal end it, also while it is paused", async () => {
    const mill = await open({ engine });
    for (const end of ["cancel", "signal", "before"]) {
      const stop = new AbortController();
      if (end === "before") stop.abort();
      const job = mill.prefetch("/m", { signal: stop.signal });
      job.pause();
      await mill.stat("/m/even/0.bin");
      if (end === "cancel") job.cancel();
      else stop.abort();
      await expect(job.done).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
      job.resume();
      job.cancel();
    }
    expect((await origin.stats()).kinds.get).toBe(0);
  });

  test("the steps of a loader: read afterwards without a request", async () => {
    const mill = await open({ engine });
    const dataset = await mill.dataset("s3://set/train", { fields });
    await mill.evict("s3://set/train");
    const shuffle = { seed: 4, window: "1MiB" };
    const loader = dataset.loader({ batchSize: 10, shuffle, readAhead: 0, stepsPerEpoch: 4, worldSize: 2, rank: 1 });
    const report = await mill.prefetch({ loader, epoch: 1, steps: 4 }).done;
    expect(report).toMatchObject({ failures: [], alreadyCached: 0 });
    expect(report.bytes).toBeGreaterThan(40 * 20_000);
    expect(report.bytes).toBeLessThan(made.byteLength);
    await origin.reset();
    let samples = 0;
    for await (const batch of loader.epoch(1)) samples += batch.size;
    expect(samples).toBe(40);
    expect((await origin.stats()).requests).toBe(0);
    await loader.close();
  });
});

test("a list, a brace pattern, a glob; an object named twice is read once", async () => {
  const mill = await open();
  expect(await mill.prefetch(["/m/even/0.bin", "/m/odd/1.bin", "/m/even/0.bin"]).done).toMatchObject({ objects: 2, bytes: 2 * MIB + 1 });
  expect(await mill.prefetch("/m/even/{2..4..2}.bin").done).toMatchObject({ objects: 2, bytes: 2 * MIB + 6 });
  expect(await mill.prefetch("/m/**/1*.bin").done).toMatchObject({ objects: 3, bytes: 2 * MIB + 21, alreadyCached: MIB + 1 });
});

test("what fails stands in the report, with its code; the rest is read", async () => {
  const mill = await open();
  await origin.shape({ deny: ["data/root/odd/3.bin"] });
  const report = await mill.prefetch(["/m/even/0.bin", "/m/none.bin", "/nowhere/x", "/m/odd", "s3://no-bucket/p/", "/m/{a,b}.bin"]).done;
  expect(report).toMatchObject({ objects: 6, alreadyCached: 0 });
  const codes = Object.fromEntries(report.failures.map(({ path, code }) => [path, code]));
  expect(codes).toEqual({
    "/m/none.bin": "MILLRACE_NOT_FOUND",
    "/nowhere/x": "MILLRACE_CONFIG",
    "/m/odd/3.bin": "MILLRACE_PERMISSION",
    "s3://no-bucket/p/": "MILLRACE_NOT_FOUND",
    "/m/a.bin": "MILLRACE_NOT_FOUND",
    "/m/b.bin": "MILLRACE_NOT_FOUND",
  });
  expect(report.bytes).toBe(MIB + [1, 5, 7, 9, 11].reduce((sum, i) => sum + MIB + i, 0));
});

test("what finds no room is a failure: by the whole job, and for ranges by their own bytes", async () => {
  const mill = await open({ cache: { memory: "4MiB" } });
  const report = await mill.prefetch("/m").done;
  expect(report.objects + report.failures.length).toBe(12);
  expect(report.objects).toBeGreaterThan(0);
  expect(report.objects).toBeLessThanOrEqual(4);
  for (const { code, message } of report.failures) {
    expect(code).toBe("MILLRACE_NO_SPACE");
    expect(message).toMatch(/raise cache\.memory/);
  }
  // An lru mount takes every object in, and pushes out the ones before: those must not count as cached.
  const lru = await open({ cache: { memory: "4MiB" }, mounts: { "/m": { uri: "s3://data/root", admission: "lru" } } });
  const churned = await lru.prefetch("/m").done;
  expect(churned.objects).toBeLessThanOrEqual(4);
  expect(churned.objects + churned.failures.length).toBe(12);
  const none = await open({ cache: { memory: 0 } });
  const dataset = await none.dataset("s3://set/train", { fields });
  const loader = dataset.loader({ batchSize: 10 });
  const ranges = await none.prefetch({ loader, epoch: 0, steps: 2 }).done;
  expect(ranges.objects).toBe(0);
  expect(ranges.failures.map(({ code }) => code)).toEqual(ranges.failures.map(() => "MILLRACE_NO_SPACE"));
  expect(ranges.failures.length).toBeGreaterThan(0);
});

// Inline, so that the queue stands still where the test does.
test("a loop's read goes before what a prefetch has queued", async () => {
  const mill = await open({ engine: "inline", limits: { concurrency: 1 } });
  await mill.stat("/m/odd/11.bin");
  await mill.stat("/m/odd/1.bin");
  await origin.shape({ firstByteMs: 30 });
  await origin.reset();
  const job = mill.prefetch("/m/even");
  await expect.poll(async () => (await origin.stats()).inFlight, IN_TIME).toBe(1);
  await expect.poll(() => queued(mill), IN_TIME).toBeGreaterThan(2);
  await mill.readFile("/m/odd/11.bin");
  await job.done;
  const order = (await origin.stats()).ranges.map(({ key }) => key);
  expect(order).toHaveLength(7);
  // One was under way; another may have followed it before the call was heard.
  expect(order.indexOf("data/root/odd/11.bin")).toBeLessThanOrEqual(2);
});

test("among prefetches the higher priority goes first", async () => {
  const mill = await open({ engine: "inline", limits: { concurrency: 1 } });
  await mill.prefetch("/m/odd/1.bin").done;
  await origin.shape({ firstByteMs: 30 });
  await origin.reset();
  const low = mill.prefetch("/m/even", { priority: -1 });
  await expect.poll(() => queued(mill), IN_TIME).toBeGreaterThan(2);
  const high = mill.prefetch(["/m/odd/3.bin", "/m/odd/5.bin"], { priority: 5 });
  await Promise.all([low.done, high.done]);
  const order = (await origin.stats()).ranges.map(({ key }) => key);
  const last = (wanted: string) => order.findLastIndex((key) => key.includes(wanted));
  expect(last("/odd/")).toBeLessThan(last("/even/"));
});

test("arguments that do not fit are refused at once", async () => {
  const mill = await open();
  const other = await open();
  const dataset = await other.dataset("s3://set/train", { fields });
  const loader = dataset.loader({ batchSize: 10 }) as never;
  const bad: [unknown, RegExp][] = [
    [[], /empty list/],
    [["/m", 5], /source\[1\]/],
    [undefined, /source/],
    [{ loader: {}, epoch: 0 }, /loader of this mill/],
    [{ loader, epoch: 0 }, /loader of this mill/],
  ];
  for (const [source, message] of bad) expect(() => mill.prefetch(source as never)).toThrow(message);
  expect(() => other.prefetch({ loader, epoch: -1 })).toThrow(/epoch/);
  expect(() => other.prefetch({ loader, epoch: 0, steps: 0 })).toThrow(/steps/);
  expect(() => mill.prefetch("/m", { priority: Number.NaN })).toThrow(/priority/);
  expect((await mill.prefetch("/nowhere").done).failures).toMatchObject([{ path: "/nowhere", code: "MILLRACE_CONFIG" }]);
});
