/** Training states in a bucket: what a run that goes on finds, here and on another machine. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LoaderState, type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

let origin: Origin;
let folder: string;
let bucket = 0;
const mills: Millrace[] = [];

beforeAll(async () => {
  origin = await startOrigin();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  bucket++;
});
afterEach(async () => {
  await origin.clearFaults();
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await rm(folder, { recursive: true });
});
afterAll(() => origin.close());

/** With the cache directory of this name, or none. */
async function open(cache?: string): Promise<Millrace> {
  const disk = cache === undefined ? [] : [{ path: join(folder, cache), capacity: "64MiB" }];
  const options: MillraceOptions = {
    engine: "inline",
    mounts: { "/run": { uri: `s3://states-${bucket}`, admission: "lru" } },
    s3: s3Options(origin),
    cache: { memory: "32MiB", disk },
  };
  // The bucket is there with its first object.
  await origin.put(`states-${bucket}`, "README", Buffer.from("states of a run"));
  mills.push(await openMillrace(options));
  return mills.at(-1)!;
}
const state = (position: number): LoaderState => ({ version: 1, fingerprint: "f", order: "o", epoch: 0, position });
const run = (step: number) => ({
  tensors: [{ name: "w", dtype: "F32", shape: [2], data: Float32Array.of(step, -step) }],
  loader: state(step * 8),
  extra: { step },
});
/** The step that a run would go on from, by each of its three parts. */
async function steps(mill: Millrace): Promise<unknown> {
  const latest = await mill.loadLatest("/run/a");
  if (latest === undefined) return undefined;
  expect(latest.skipped).toEqual([]);
  const { data } = await latest.checkpoint.tensor("w");
  return [data[0], latest.loader!.position / 8, (latest.extra as { step: number }).step];
}
const names = async (mill: Millrace) => {
  await mill.invalidate("/run");
  const found: string[] = [];
  for await (const { path } of mill.list("/run/a")) found.push(path.slice(-20));
  return found;
};

test("a run finds its last state again, and keeps as many as it wants", async () => {
  const mill = await open();
  expect(await steps(mill)).toBeUndefined();
  for (const step of [1, 2, 3, 4]) await mill.saveTrainingState("/run/a", run(step), { keep: 2 });
  expect(await steps(mill)).toEqual([4, 4, 4]);
  const other = await open();
  expect(await steps(other)).toEqual([4, 4, 4]);
  expect(await names(other)).toEqual(["03.safetensors", "04.safetensors"].map((end) => expect.stringContaining(end)));
  await other.saveTrainingState("/run/a", run(5), { keep: 2 });
  expect(await names(other)).toEqual(["04.safetensors", "05.safetensors"].map((end) => expect.stringContaining(end)));
});

test("a state that waits for its upload is the newest to this mill and to the next of its cache directory, and to others once it is uploaded", async () => {
  const [first, other] = [await open("cache"), await open()];
  await first.saveTrainingState("/run/a", run(1));
  await origin.failNext(1000, 503, { kind: "put" });
  await first.saveTrainingState("/run/a", run(2), { write: "back" });
  expect(await steps(first)).toEqual([2, 2, 2]);
  expect(await steps(other)).toEqual([1, 1, 1]);

  await first.close();
  const next = await open("cache");
  expect(await steps(next)).toEqual([2, 2, 2]);
  await origin.clearFaults();
  await next.saveTrainingState("/run/a", run(3), { write: "back" });
  expect(await steps(next)).toEqual([3, 3, 3]);
  await next.flush();
  expect(await steps(other)).toEqual([3, 3, 3]);
  expect(await names(other)).toHaveLength(3);
}, 60_000);

describe("a prefix means the same however it is written", () => {
  const openFiles = async (): Promise<Millrace> => {
    const mounts = { "/c": `file://${folder}`, "/deep": `file://${folder}/deep/../deep` };
    mills.push(await openMillrace({ engine: "inline", mounts, cache: { memory: "16MiB" } }));
    return mills.at(-1)!;
  };
  const below = () => relative(process.cwd(), folder);
  test.each([
    ["file:./x", () => `file:./${below()}/run`],
    ["file:x", () => `file:${below()}/run`],
    ["file:/x", () => `file:${folder}/run`],
    ["file:///x/../y", () => `file://${folder}/x/../run`],
    ["file:///x//y", () => `file://${folder}//run/`],
    ["/mount//x", () => "/c//run"],
    ["/mount/x//", () => "/c/run//"],
    ["/mount, which is written so itself", () => "/deep"],
  ])("%s: the next mill finds the last state, and goes on from its number", async (_how, prefix) => {
    const path = prefix();
    for (const step of [1, 2]) {
      const mill = await openFiles();
      expect((await mill.loadLatest(path))?.extra).toEqual(step === 1 ? undefined : { step: 1 });
      const saved = await mill.saveTrainingState(path, run(step));
      expect(saved.path).toMatch(new RegExp(`/state-00000000000${step}\\.safetensors$`));
      expect((await mill.loadLatest(path))?.extra).toEqual({ step });
    }
  });

  test("two names of one folder in one mill share its numbers", async () => {
    const mill = await openFiles();
    const one = await mill.saveTrainingState("/c/run", run(1));
    const other = await mill.saveTrainingState(`file://${folder}/run`, run(2));
    const third = await mill.saveTrainingState("/c/run", run(3));
    expect([one, other, third].map(({ path }) => Number(/(\d+)\.safetensors$/.exec(path)![1]))).toEqual([1, 2, 3]);
  });

  test("the root of a store", async () => {
    const mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" } });
    mills.push(mill);
    for (const step of [1, 2]) await mill.saveTrainingState("memory://states", run(step));
    expect((await mill.loadLatest("memory://states/"))?.extra).toEqual({ step: 2 });
  });
});
