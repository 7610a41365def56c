/** Journals of saves that cannot be removed, and the order in which they are: what is uploaded is never older than what is there. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type Millrace, type NamedTensor, openMillrace } from "../../src/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

/** Removed so far, and what may not be. */
const disk = vi.hoisted(() => ({ removed: [] as string[], keeps: (_path: string): boolean => false }));
vi.mock("node:fs/promises", async (load) => {
  const real = await load<typeof import("node:fs/promises")>();
  const unlink = async (path: string) => {
    if (disk.keeps(path)) throw Object.assign(new Error(`cannot remove ${path}`), { code: "EIO" });
    await real.unlink(path);
    disk.removed.push(path);
  };
  return { ...real, unlink };
});

let origin: Origin;
let folder: string;
const mills: Millrace[] = [];
const open = async (): Promise<Millrace> => {
  const cache = { memory: "32MiB", disk: [{ path: folder, capacity: "64MiB" }] };
  mills.push(await openMillrace({ engine: "inline", cache, mounts: { "/ckpt": "s3://data/ckpt" }, s3: s3Options(origin) }));
  return mills.at(-1)!;
};
const small = (value: number): NamedTensor[] => [{ name: "w", dtype: "F32", shape: [1], data: Float32Array.of(value) }];
const valueAt = async (path: string) => {
  const mill = await openMillrace({
    engine: "inline",
    cache: { memory: "32MiB" },
    mounts: { "/ckpt": "s3://data/ckpt" },
    s3: s3Options(origin),
  });
  mills.push(mill);
  return (await (await mill.checkpoint(path)).tensor("w")).toFloat32()[0];
};
const journals = async () => (await readdir(join(folder, "millrace-v1", "saves"))).filter((name) => name.endsWith(".json"));
/** Leaves a save whose upload was refused. */
async function refused(mill: Millrace, path: string): Promise<void> {
  await origin.failNext(1, "AccessDenied", { kind: "put" });
  await mill.saveCheckpoint(path, small(1), { write: "back" });
  await expect.poll(() => mill.stats().saves, IN_TIME).toMatchObject({ failed: 1, pending: 0 });
}

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

test.each(["through", "back"] as const)(
  "one that was superseded and cannot be removed is not uploaded by the next mill, %s",
  async (write) => {
    const path = `/ckpt/stuck-${write}.safetensors`;
    const mill = await open();
    await refused(mill, path);
    const [stuck] = await journals();
    disk.keeps = (file) => file.endsWith(stuck!);
    await mill.saveCheckpoint(path, small(2), { write });
    await mill.flush();
    expect(await journals()).toEqual([stuck]);
    await mill.close();
    disk.keeps = () => false;
    const next = await open();
    await next.flush();
    expect(next.stats().saves).toMatchObject({ uploaded: 0, failed: 0 });
    expect(await valueAt(path)).toBe(2);
    expect(await journals()).toEqual([]);
  },
);

test("the older ones of a name go before the newer one", async () => {
  const mill = await open();
  await refused(mill, "/ckpt/order.safetensors");
  const [older] = await journals();
  disk.removed.length = 0;
  await mill.saveCheckpoint("/ckpt/order.safetensors", small(2), { write: "back" });
  await expect.poll(() => mill.stats().saves, IN_TIME).toMatchObject({ uploaded: 1, failed: 0, pending: 0 });
  const removed = disk.removed.filter((file) => file.endsWith(".json"));
  expect(removed).toHaveLength(2);
  expect(removed[0]!.endsWith(older!)).toBe(true);
});

test.each(["through", "back"] as const)("an older one of its name is gone before anything is removed at the origin, %s", async (write) => {
  const mill = await open();
  await mill.saveCheckpoint(`/ckpt/held-${write}/s-1.safetensors`, small(0));
  await refused(mill, `/ckpt/held-${write}/s-2.safetensors`);
  const [older] = await journals();
  await origin.reset();
  await origin.failNext(1000, "hang", { kind: "delete" });
  const stop = new AbortController();
  const saving = mill.saveCheckpoint(`/ckpt/held-${write}/s-2.safetensors`, small(2), { write, keep: 1, signal: stop.signal });
  saving.catch(() => {});
  await expect.poll(async () => (await origin.stats()).kinds.delete, IN_TIME).toBeGreaterThan(0);
  expect(await journals()).not.toContain(older);
  await origin.clearFaults();
  stop.abort();
  await saving.catch(() => {});
});
