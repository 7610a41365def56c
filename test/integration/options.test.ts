/** Options of a mill that nothing else holds to their effect, from the option to what is asked of the store. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { IN_TIME } from "../support/in-time.js";

const MIB = 2 ** 20;
const mills: Millrace[] = [];
const folders: string[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  mills.push(await openMillrace({ engine: "inline", ...options, cache: { memory: 0, ...options.cache } }));
  return mills.at(-1)!;
};
/** A folder with files of these sizes, named by their number. */
const files = async (...sizes: number[]): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  folders.push(folder);
  for (const [i, size] of sizes.entries()) await writeFile(join(folder, `${i}.bin`), new Uint8Array(size));
  return folder;
};
const figure = (mill: Millrace, group: string, name: string) => mill.stats()[group]![name];

afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

test("limits.maxRecordBytes: a longer record is MILLRACE_CORRUPT before it is read", async () => {
  const folder = await files(2000);
  const mill = await open({ limits: { maxRecordBytes: 1000 } });
  await expect(mill.dataset(`file://${folder}`, { format: "files" })).rejects.toMatchObject({
    code: "MILLRACE_CORRUPT",
    message: expect.stringContaining("limits.maxRecordBytes"),
  });
  expect(figure(mill, "origin", "requests")).toBe(0);
});

test.each([
  { option: "requestsPerSecond", limits: { requestsPerSecond: 0.01 } },
  { option: "bandwidth", limits: { bandwidth: 1 } },
])("limits.$option: the second object waits for its turn", async ({ limits }) => {
  const folder = await files(100, 100);
  const mill = await open({ limits });
  const controller = new AbortController();
  const both = (async () => {
    for (const i of [0, 1]) await mill.readFile(`file://${folder}/${i}.bin`, { signal: controller.signal });
  })();
  both.catch(() => {});
  await expect.poll(() => figure(mill, "origin", "queued"), IN_TIME).toBe(1);
  controller.abort();
  await expect(both).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  expect(figure(mill, "origin", "requests")).toBe(1);
});

test.each([
  { metadata: {}, asked: 1 },
  { metadata: { ttl: 0 }, asked: 2 },
  { metadata: { memory: 0 }, asked: 2 },
])("cache.metadata $metadata: two looks at an object ask its store $asked times", async ({ metadata, asked }) => {
  const folder = await files(1);
  const mill = await open({ cache: { metadata } });
  await mill.stat(`file://${folder}/0.bin`);
  await mill.stat(`file://${folder}/0.bin`);
  expect(figure(mill, "origin", "stats")).toBe(asked);
});

test("cache.blockSize: a byte of an object that is held brings its block", async () => {
  const folder = await files(4 * MIB);
  const mill = await open({ cache: { memory: "8MiB", blockSize: "128KiB" } });
  await mill.readFile(`file://${folder}/0.bin`, { begin: 300_000, end: 300_001 });
  expect(figure(mill, "cache", "fetchedBytes")).toBe(128 * 1024);
});

test("cache.disk watermarks: lru data fills a directory to the high one, and leaves it for the low one", async () => {
  const folder = await files(...new Array<number>(12).fill(MIB));
  const cacheFolder = await files();
  const capacity = 16 * MIB;
  const mill = await open({
    mounts: { "/m": { uri: `file://${folder}`, admission: "lru" } },
    cache: { disk: [{ path: cacheFolder, capacity, highWatermark: 0.5, lowWatermark: 0.25 }] },
  });
  for (let i = 0; i < 12; i++) {
    await mill.readFile(`/m/${i}.bin`);
    // A block that goes while it is being written gives its room back only then, and another goes in its stead.
    await expect.poll(() => figure(mill, "disk", "writes"), IN_TIME).toBe(i + 1);
  }
  expect(figure(mill, "disk", "chargedBytes")).toBeLessThanOrEqual(0.5 * capacity);
  // Seven files fit below the high mark; the eighth makes room down to the low one, four at once, and so does the twelfth.
  expect(figure(mill, "disk", "evictions")).toBe(8);
});
