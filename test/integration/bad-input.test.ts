/** What bad input gets: a clear error that names what it concerns, before training starts where that is possible. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type LoaderOptions, type Millrace, type MillraceOptions, openDataset, openMillrace } from "../../src/index.js";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { keys } from "../support/s3-keys.js";
import { s3Options } from "../support/s3-options.js";
import decoder from "./fixtures/double-label.js";

const fields = { image: "bytes", label: "int32" } as const;
const mills: Millrace[] = [];
const folders: LocalDataset[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  const mill = await openMillrace({ engine: "inline", cache: { memory: "8MiB" }, ...options });
  mills.push(mill);
  return mill;
};
const local = async (...given: Parameters<typeof localDataset>): Promise<LocalDataset> => {
  folders.push(await localDataset(...given));
  return folders.at(-1)!;
};
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await Promise.all(folders.splice(0).map((folder) => folder.remove()));
});

describe("origins", () => {
  let origin: Origin;
  beforeAll(async () => {
    origin = await startOrigin();
    await origin.put("bucket", "a/x.bin", new Uint8Array(10));
  });
  afterAll(() => origin.close());

  test("missing bucket, missing key, empty prefix", async () => {
    const mill = await open({ s3: s3Options(origin) });
    await expect(mill.dataset("s3://nowhere/train")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: expect.stringContaining("bucket"),
    });
    await expect(mill.readFile("s3://bucket/a/none.bin")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      uri: expect.stringContaining("a/none.bin"),
    });
    await expect(mill.dataset("s3://bucket/empty")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: expect.stringContaining("s3://bucket/empty"),
    });
  });

  test("no permission; and no secret in the message", async () => {
    const mill = await open({ s3: { ...s3Options(origin), credentials: { ...keys(origin), secretAccessKey: "wrong-secret" } } });
    const error = await mill.dataset("s3://bucket/a").catch((caught: Error) => caught);
    expect(error).toMatchObject({ code: "MILLRACE_PERMISSION" });
    expect(String(error)).not.toContain("wrong-secret");
  });

  test("a server that is not there", async () => {
    const mill = await open({ s3: { ...s3Options(origin), endpoint: "http://127.0.0.1:1" } });
    const abort = AbortSignal.timeout(2_000);
    await expect(mill.readFile("s3://bucket/a/x.bin", { signal: abort })).rejects.toMatchObject({
      code: expect.stringMatching(/UNAVAILABLE|ABORTED/),
    });
  });

  test("an object that changes between its listing and its reading", async () => {
    const mill = await open({ s3: s3Options(origin) });
    const file = await mill.open("s3://bucket/a/x.bin");
    await origin.put("bucket", "a/x.bin", new Uint8Array(10).fill(1));
    await expect(file.read(0, new Uint8Array(10))).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
  });
});

describe("options", () => {
  test.each<[object, RegExp]>([
    [{ cahce: {} }, /cahce: no such option/],
    [{ cache: { disk: [{ path: "/x", capacity: "lots" }] } }, /cache\.disk\[0\]\.capacity: expected bytes/],
    [{ mounts: { data: "file:///x" } }, /mounts\["data"\]: a mount is a path/],
    [{ engine: "thread" }, /engine/],
    [{ s3: { endpoint: "nonsense" } }, /s3\.endpoint/],
    [{ cache: { blockSize: "100KiB" } }, /cache\.blockSize: expected a power of two/],
  ])("%j is refused by name", async (options, message) => {
    await expect(openMillrace(options as MillraceOptions)).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(message),
    });
  });

  test("a path that no mount holds", async () => {
    const mill = await open({ mounts: { "/data": "file:///x" } });
    await expect(mill.stat("/other/y")).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("mounts: /data"),
    });
  });

  test("a cache directory that is a file", async () => {
    const path = join(tmpdir(), `millrace-not-a-folder-${process.pid}`);
    await writeFile(path, "");
    await expect(openMillrace({ engine: "inline", cache: { disk: [{ path, capacity: "1GiB" }] } })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("cache.disk[0].path"),
    });
    // The engine's thread refuses as the inline one does, and does not stay behind.
    await expect(openMillrace({ cache: { disk: [{ path, capacity: "1GiB" }] } })).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    await rm(path);
  });
});

describe("datasets", () => {
  test("mixed formats name both and the way out", async () => {
    const { uri, folder } = await local({ format: "tfrecord", samples: 4 });
    await writeFile(join(folder, "more.tar"), new Uint8Array(1024));
    await expect((await open()).dataset(uri)).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringMatching(/webdataset \(more\.tar\) and tfrecord .*set format to/s),
    });
  });

  test("a dataset without records", async () => {
    const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
    await writeFile(join(folder, "a.tfrecord"), "");
    await expect((await open()).dataset(`file://${folder}`)).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringContaining("empty"),
    });
    await rm(folder, { recursive: true });
  });

  test("a field that is not there, or does not fit", async () => {
    const { uri } = await local({ format: "tfrecord", samples: 4 });
    const mill = await open();
    await expect(mill.dataset(uri, { fields: { picture: "bytes" } })).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringMatching(/picture.*image/s),
    });
    await expect(mill.dataset(uri, { fields: { image: { dtype: "float32", shape: [7] } } })).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
    });
    await expect(mill.dataset(uri, { fields: { image: "float16" as "uint8" } })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("fields.image"),
    });
  });

  test("windows that cannot fit say what they need", async () => {
    const { uri } = await local({ format: "tfrecord", samples: 100, bytesPerSample: 10_000 });
    const dataset = await (await open()).dataset(uri, { fields });
    const load = (options: Partial<LoaderOptions>) => dataset.loader({ batchSize: 4, shuffle: { seed: 1, window: "100KiB" }, ...options });
    expect(() => load({})).toThrow(/shuffle\.window: 24 lanes of one .* need .* the budget is 100 KiB/);
    load({ lanes: 2 });
  });

  test("openDataset leaves no mill behind when it fails", async () => {
    await expect(openDataset("file:///nowhere-at-all")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});

describe("damaged records", () => {
  const damaged = async (at: (bytes: Buffer) => void, samples = 40) => {
    const set = await local({ format: "tfrecord", samples, shards: 2, bytesPerSample: 500 });
    const path = join(set.folder, "shard-00001.tfrecord");
    const bytes = await readFile(path);
    at(bytes);
    await writeFile(path, bytes);
    return set;
  };

  test("a bad checksum names shard, record and place; skipped ones are counted and leave their batch smaller", async () => {
    const { uri } = await damaged((bytes) => bytes.writeUInt8(bytes.readUInt8(200) ^ 1, 200));
    const mill = await open();
    const dataset = await mill.dataset(uri, { fields });
    const read = async (onError: "throw" | "skip") => {
      const loader = dataset.loader({ batchSize: 10, onError });
      const sizes: number[] = [];
      for await (const batch of loader.epoch(0)) sizes.push(batch.size);
      await loader.close();
      return { sizes, skipped: loader.stats().skipped };
    };
    await expect(read("throw")).rejects.toMatchObject({
      code: "MILLRACE_CORRUPT",
      sample: { index: 20 },
      uri: expect.stringContaining("shard-00001.tfrecord"),
    });
    expect(await read("skip")).toEqual({ sizes: [10, 10, 9, 10], skipped: 1 });
  });

  test("a truncated shard", async () => {
    const { uri, folder } = await local({ format: "tfrecord", samples: 40, shards: 2, bytesPerSample: 500 });
    const path = join(folder, "shard-00001.tfrecord");
    await writeFile(path, (await readFile(path)).subarray(0, -100));
    const mill = await open();
    await expect(mill.dataset(uri, { fields })).rejects.toMatchObject({
      code: "MILLRACE_CORRUPT",
      message: expect.stringMatching(/shard-00001\.tfrecord.*record 19.*byte \d+/s),
    });
    const rest = await mill.dataset(uri, { fields, onError: "skip" });
    expect(rest.sampleCount).toBe(39);
  });
});

describe("decoders", () => {
  const run = async (args: object, options: Partial<LoaderOptions> = {}, engine: "inline" | "worker" = "inline") => {
    const { uri } = await local({ format: "tfrecord", samples: 40 });
    const dataset = await (await open({ engine })).dataset(uri, { fields: { label: "int32" } });
    const loader = dataset.loader({ batchSize: 8, decode: decoder, decodeArgs: args as never, workers: 1, ...options });
    const labels: number[] = [];
    for await (const batch of loader.epoch(0)) labels.push(...batch.columns.label.data);
    await loader.close();
    return { labels, skipped: loader.stats().skipped };
  };

  test.each([0, 1, 2])("with %i workers: each sample once, and the same chances", async (workers) => {
    expect((await run({}, { workers })).labels).toEqual(Array.from({ length: 40 }, (_, i) => (i % 10) * 2));
  });
  test.each([0, 2])("with %i workers an exception names the sample and keeps its cause", async (workers) => {
    await expect(run({ fail: 3 }, { workers })).rejects.toMatchObject({
      code: "MILLRACE_DECODE",
      sample: { index: 3, key: expect.stringContaining("#3") },
      cause: { message: "label 3 is not liked" },
    });
    expect(await run({ fail: 3 }, { workers, onError: "skip" })).toMatchObject({ skipped: 4 });
  });
  test.each(["hang", "spin"])("a decoder that does not end (%s) is a time-out that names the sample", async (how) => {
    await expect(run({ [how]: 5 }, { decodeTimeout: 300 })).rejects.toMatchObject({ code: "MILLRACE_TIMEOUT", sample: { index: 5 } });
  });
  test("a decoder that ends its thread is an error that names the sample, also in the engine's thread", async () => {
    await expect(run({ exit: 5 }, {}, "worker")).rejects.toMatchObject({ code: "MILLRACE_DECODE", sample: { index: 5 } });
  });
});
