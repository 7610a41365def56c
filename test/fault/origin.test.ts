/** A faulty origin with the whole mill before it: every sample once and right, or a clear end. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Millrace, openMillrace } from "../../src/index.js";
import { makeDataset, sha256 } from "../support/datasets/index.js";
import { type Origin, type Shape, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const made = makeDataset({ format: "tfrecord", samples: 300, shards: 3, bytesPerSample: 20_000 });
const tars = makeDataset({ format: "webdataset", samples: 60, shards: 3, bytesPerSample: 20_000 });
const fields = { image: "bytes", label: "int32" } as const;
const wanted = new Map(made.samples.map(({ sha256: hash, label }) => [`${hash} ${label}`, 1]));

let origin: Origin;
const mills: Millrace[] = [];
const open = async (memory = "0"): Promise<Millrace> => {
  // Small blocks, so that an epoch makes enough requests for every fault to strike.
  mills.push(await openMillrace({ engine: "inline", cache: { memory, blockSize: "64KiB" }, s3: s3Options(origin) }));
  return mills.at(-1)!;
};
beforeAll(async () => {
  origin = await startOrigin();
  for (const [key, bytes] of made.objects) await origin.put("set", `train/${key}`, bytes);
  for (const [key, bytes] of tars.objects) await origin.put("set", `tars/${key}`, bytes);
});
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterAll(() => origin.close());

async function epoch(mill: Millrace, number = 0): Promise<Map<string, number>> {
  const dataset = await mill.dataset("s3://set/train", { fields });
  const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 2, window: "1MiB" } });
  const seen = new Map<string, number>();
  for await (const { columns, size } of loader.epoch(number))
    for (let row = 0; row < size; row++) {
      const id = `${sha256(columns.image.at(row))} ${columns.label.data[row]}`;
      seen.set(id, (seen.get(id) ?? 0) + 1);
    }
  await loader.close();
  return seen;
}

const faulty: [string, Shape][] = [
  ["internal errors", { errorRate: 0.1, errorStatus: 500, seed: 3 }],
  ["SlowDown", { errorRate: 0.1, errorStatus: 503, seed: 4 }],
  ["resets", { resetRate: 0.1, seed: 5 }],
  ["bodies cut short", { truncateRate: 0.2, seed: 6 }],
  ["all of them", { errorRate: 0.04, resetRate: 0.04, truncateRate: 0.08, seed: 7 }],
];

test.each(faulty)("%s, from opening to the end of the epoch: each sample once, with its own bytes", async (_name, shape) => {
  const mill = await open();
  await origin.shape(shape);
  expect(await epoch(mill)).toEqual(wanted);
  const { faults } = await origin.stats();
  expect(faults).toBeGreaterThan(0);
  const { retries } = mill.stats().origin!;
  expect(retries).toBeGreaterThan(0);
  expect(retries).toBeLessThanOrEqual(faults);
});

test("with a cache, what was brought through faults is right the second time, and asked for no more", async () => {
  const mill = await open("64MiB");
  await origin.shape({ errorRate: 0.04, truncateRate: 0.15, resetRate: 0.04, seed: 8 });
  expect(await epoch(mill)).toEqual(wanted);
  await origin.shape({});
  await origin.reset();
  expect(await epoch(mill, 1)).toEqual(wanted);
  expect((await origin.stats()).requests).toBe(0);
});

test("an index is built over faults, header by header", async () => {
  const mill = await open();
  await origin.shape({ errorRate: 0.05, resetRate: 0.05, truncateRate: 0.1, seed: 9 });
  const dataset = await mill.dataset("s3://set/tars");
  expect(dataset.sampleCount).toBe(60);
  expect((await origin.stats()).faults).toBeGreaterThan(0);
});

describe("a failure that lasts", () => {
  test("errors: MILLRACE_UNAVAILABLE after six tries, and the mill can be used once it is over", async () => {
    const mill = await open();
    const dataset = await mill.dataset("s3://set/train", { fields });
    await origin.failNext(100_000, 500, { kind: "get" });
    await origin.reset();
    await expect(dataset.get(0)).rejects.toMatchObject({
      code: "MILLRACE_UNAVAILABLE",
      message: expect.stringMatching(/s3:\/\/set.*gave up after 6 tries/),
    });
    expect((await origin.stats()).kinds.get).toBe(6);
    await origin.clearFaults();
    expect(sha256((await dataset.get(0)).image)).toBe(made.samples[0]!.sha256);
  });

  test("in the middle of an epoch: the loop gets the error, once, and the next epoch is whole", async () => {
    const mill = await open();
    const dataset = await mill.dataset("s3://set/train", { fields });
    const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 2, window: "512KiB" }, lanes: 4, readAhead: "256KiB" });
    let batches = 0;
    const run = async () => {
      for await (const _ of loader.epoch(0)) if (++batches === 3) await origin.failNext(100_000, "InternalError", { kind: "get" });
    };
    await expect(run()).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(batches).toBeGreaterThanOrEqual(3);
    expect(batches).toBeLessThan(19);
    await origin.clearFaults();
    await loader.close();
    expect(await epoch(mill)).toEqual(wanted);
  });

  test("permission lost is not tried again; a prefetch reports both kinds", async () => {
    const mill = await open("16MiB");
    const [first, second] = [...made.objects.keys()];
    await origin.failNext(100_000, 500, { kind: "get", prefix: `train/${first}` });
    await origin.failNext(100_000, "AccessDenied", { kind: "get", prefix: `train/${second}` });
    const report = await mill.prefetch("s3://set/train").done;
    const codes = Object.fromEntries(report.failures.map(({ path, code }) => [path, code]));
    expect(codes).toEqual({ [`s3://set/train/${first}`]: "MILLRACE_UNAVAILABLE", [`s3://set/train/${second}`]: "MILLRACE_PERMISSION" });
    expect(report.objects).toBe(1);
    expect((await origin.stats()).statuses[403]).toBe(1);
    expect((await origin.stats()).statuses[500]).toBe(6);
  });
});

test("writes go through faults too: what is read back is what was written", async () => {
  const mill = await open();
  const bytes = new Uint8Array(20 * 2 ** 20).map((_, i) => i % 251);
  await origin.failNext(1, 500, { kind: "multipart" });
  await origin.failNext(2, "SlowDown", { kind: "put" });
  await mill.writeFile("s3://set/out/large.bin", bytes);
  await origin.failNext(1, "reset", { kind: "put" });
  await mill.writeFile("s3://set/out/small.bin", "small");
  expect(Buffer.compare(await mill.readFile("s3://set/out/large.bin"), bytes)).toBe(0);
  expect(Buffer.from(await mill.readFile("s3://set/out/small.bin")).toString()).toBe("small");
});
