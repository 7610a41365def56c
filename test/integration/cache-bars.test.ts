/** What the caches promise of origin traffic, counted at the origin. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Dataset, type DiskCacheOptions, type Loader, openMillrace } from "../../src/index.js";
import { makeDataset } from "../support/datasets/index.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const MIB = 2 ** 20;
const made = makeDataset({ format: "tfrecord", samples: 640, shards: 4, bytesPerSample: 100_000 });
let origin: Origin;

beforeAll(async () => {
  origin = await startOrigin();
  for (const [key, bytes] of made.objects) await origin.put("bars", `set/${key}`, bytes);
});
afterAll(() => origin.close());

const fields = { image: "bytes", label: "int32" } as const;

async function readEpoch(loader: Loader<typeof fields>, epoch: number): Promise<number> {
  let samples = 0;
  for await (const batch of loader.epoch(epoch)) samples += batch.size;
  return samples;
}

async function bytesOfEpoch(loader: Loader<typeof fields>, epoch: number): Promise<{ bytes: number; requests: number }> {
  await origin.reset();
  expect(await readEpoch(loader, epoch)).toBe(640);
  const stats = await origin.stats();
  return { bytes: stats.bytesSent, requests: stats.requests };
}

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  const open = async (memory: string, disk: DiskCacheOptions[] = []) => {
    // A hedge would be counted at the origin.
    const mill = await openMillrace({ s3: s3Options(origin), engine, cache: { memory, disk }, limits: { hedge: 0 } });
    const dataset: Dataset<typeof fields> = await mill.dataset("s3://bars/set", { fields });
    return { mill, loader: dataset.loader({ batchSize: 32, shuffle: { seed: 5, window: "16MiB" } }) };
  };

  test("a dataset that fits the cache is asked of the origin once", async () => {
    const { mill, loader } = await open("128MiB");
    await readEpoch(loader, 0);
    const second = await bytesOfEpoch(loader, 1);
    expect(second).toEqual({ bytes: 0, requests: 0 });
    await mill.close();
  });

  test("of a dataset larger than the cache, as much is hit as was admitted", async () => {
    const { mill, loader } = await open("32MiB");
    await readEpoch(loader, 0);
    const { bytes } = await bytesOfEpoch(loader, 1);
    const admitted = mill.stats().memory!.heldBytes as number;
    expect(admitted).toBeGreaterThanOrEqual(0.9 * 32 * MIB);
    expect(admitted).toBeLessThanOrEqual(32 * MIB);
    const hitRate = 1 - bytes / made.byteLength;
    expect(Math.abs(hitRate - admitted / made.byteLength)).toBeLessThanOrEqual(0.02);
    await mill.close();
  });

  test("memory and disk together hold each block once, and fill", async () => {
    const path = await mkdtemp(join(tmpdir(), "millrace-bars-"));
    const { mill, loader } = await open("16MiB", [{ path, capacity: "24MiB" }]);
    await readEpoch(loader, 0);
    const { bytes } = await bytesOfEpoch(loader, 1);
    const { admittedBytes } = mill.stats().cache as Record<string, number>;
    expect(admittedBytes).toBeGreaterThanOrEqual(0.9 * 40 * MIB);
    expect(admittedBytes).toBeLessThanOrEqual(40 * MIB);
    expect(Math.abs(1 - bytes / made.byteLength - admittedBytes! / made.byteLength)).toBeLessThanOrEqual(0.02);
    await mill.close();
    await rm(path, { recursive: true });
  });

  test("with nothing admitted, an epoch reads little more than the dataset", async () => {
    const { mill, loader } = await open("0");
    // The index is there; what is counted is the epoch.
    const { bytes } = await bytesOfEpoch(loader, 0);
    expect(bytes).toBeLessThanOrEqual(1.03 * made.byteLength);
    expect(bytes).toBeGreaterThanOrEqual(0.99 * made.byteLength);
    await mill.close();
  });
});
