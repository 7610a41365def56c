import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import type { RecordIndex } from "../../../src/formats/format.js";
import { Manifest, type ManifestShard, type ManifestSource } from "../../../src/formats/manifest.js";
import { failure } from "./memory-reader.js";

const time = new Date("2026-01-02T03:04:05Z");

function shard(path: string, index?: RecordIndex, size = index?.ends.at(-1) ?? 0): ManifestShard {
  return { stored: { path, size, etag: `"${path}"`, lastModified: time }, index };
}
function records(sizes: readonly number[], more: Partial<RecordIndex> = {}, gap = 0): RecordIndex {
  let position = 0;
  const begins = sizes.map((size) => {
    position += size + gap;
    return position - size;
  });
  return { begins: Float64Array.from(begins), ends: Float64Array.from(begins, (begin, i) => begin + sizes[i]!), ...more };
}
function build(shards: readonly ManifestShard[], more: Partial<ManifestSource> = {}): Manifest {
  return Manifest.build({ format: "tfrecord", root: "s3://bucket", shards, ...more });
}
/** Everything a manifest says, sample by sample. */
function table(manifest: Manifest): unknown[][] {
  return Array.from({ length: manifest.sampleCount }, (_, i) => [
    manifest.shardOf(i),
    manifest.recordBegin(i),
    manifest.recordEnd(i),
    manifest.key(i),
  ]);
}

describe("samples", () => {
  it("are numbered over all shards, empty ones passed over", () => {
    const manifest = build([
      shard("none", records([])),
      shard("a", records([5, 7])),
      shard("empty", records([])),
      shard("empty2", records([])),
      shard("b", records([9]), 20),
      shard("last", records([])),
    ]);
    expect(manifest.sampleCount).toBe(3);
    expect(manifest.shardCount).toBe(6);
    expect(table(manifest)).toEqual([
      [1, 0, 5, "a#0"],
      [1, 5, 12, "a#1"],
      [4, 0, 9, "b#0"],
    ]);
    expect([0, 1, 2, 3, 4, 5, 6].map((i) => manifest.shardFirst(i))).toEqual([0, 0, 2, 2, 2, 3, 3]);
    expect(manifest.byteLength).toBe(21);
    expect(manifest.storedBytes).toBe(32);
  });

  it("are found in any order", () => {
    const manifest = build(Array.from({ length: 97 }, (_, i) => shard(`s${i}`, records(Array(i % 5).fill(3)))));
    const expected = Array.from({ length: 97 }, (_, i) => Array(i % 5).fill(i)).flat();
    for (let step = 1; step < 40; step += 3)
      for (let k = 0; k < manifest.sampleCount; k++) {
        const sample = (k * step) % manifest.sampleCount;
        expect(manifest.shardOf(sample)).toBe(expected[sample]);
      }
  });

  it("of whole objects need no index, and their path is the key", () => {
    const manifest = build([shard("cat/1.jpg", undefined, 10), shard("cat/2.jpg", undefined, 0), shard("dog/3.jpg", undefined, 30)]);
    expect(table(manifest)).toEqual([
      [0, 0, 10, "cat/1.jpg"],
      [1, 0, 0, "cat/2.jpg"],
      [2, 0, 30, "dog/3.jpg"],
    ]);
    const indexed = build([
      shard("cat/1.jpg", records([10], { keys: ["cat/1.jpg"] })),
      shard("cat/2.jpg", undefined, 0),
      shard("dog/3.jpg", undefined, 30),
    ]);
    expect(table(indexed)).toEqual(table(manifest));
    expect(indexed.memoryBytes).toBe(manifest.memoryBytes);
  });

  it("may have gaps between them", () => {
    const manifest = build([shard("a", records([5, 6], {}, 100), 500), shard("b", records([7, 8]))]);
    expect(table(manifest).map((row) => row.slice(1, 3))).toEqual([
      [100, 105],
      [205, 211],
      [0, 7],
      [7, 15],
    ]);
    expect(manifest.byteLength).toBe(26);
  });

  it("may lie beyond 4 GiB", () => {
    const manifest = build([shard("a", records([2 ** 33, 1, 2 ** 32]), 2 ** 35), shard("b", undefined, 2 ** 40)]);
    expect(table(manifest).map((row) => row.slice(1, 3))).toEqual([
      [0, 2 ** 33],
      [2 ** 33, 2 ** 33 + 1],
      [2 ** 33 + 1, 2 ** 33 + 1 + 2 ** 32],
      [0, 2 ** 40],
    ]);
    expect(manifest.shard(1).size).toBe(2 ** 40);
  });

  it("have their format's keys where it has them", () => {
    const manifest = build([shard("a.tar", records([512, 512], { keys: ["x/größe", "🙂"] })), shard("b.tar", records([512, 512]))]);
    expect(table(manifest).map((row) => row[3])).toEqual(["x/größe", "🙂", "b.tar#0", "b.tar#1"]);
  });

  it.each([-1, 3, Number.NaN])("%d is refused", async (sample) => {
    const manifest = build([shard("a", records([1, 1, 1]))]);
    expect((await failure(() => manifest.recordBegin(sample))).code).toBe("MILLRACE_CONFIG");
  });

  it("there may be none", async () => {
    const manifest = build([]);
    expect([manifest.sampleCount, manifest.shardCount, manifest.byteLength]).toEqual([0, 0, 0]);
    expect((await failure(() => manifest.shardOf(0))).code).toBe("MILLRACE_CONFIG");
    expect(manifest.compressed(0)).toBe(false);
  });
});

describe("shards", () => {
  it("come back as their stores named them", () => {
    const undated = { stored: { path: "y", size: 2 ** 33, etag: "", lastModified: undefined }, root: "memory://other" };
    const manifest = build([shard("größe/x", undefined, 3), undated]);
    expect(manifest.shard(0)).toEqual({ path: "größe/x", uri: "s3://bucket/größe/x", size: 3, etag: '"größe/x"', lastModified: time });
    expect(manifest.shard(1)).toEqual({ path: "y", uri: "memory://other/y", size: 2 ** 33, etag: "", lastModified: undefined });
    expect([manifest.root(0), manifest.root(1)]).toEqual(["s3://bucket", "memory://other"]);
  });

  it("that are compressed have records in the inflated bytes", () => {
    const manifest = build([
      shard("a.gz", records([50, 60], { inflatedSize: 110 }), 20),
      shard("b.gz", records([70], { inflatedSize: 70 }), 30),
      shard("c", undefined, 40),
    ]);
    expect([0, 1, 2].map((i) => [manifest.compressed(i), manifest.inflatedSize(i)])).toEqual([
      [true, 110],
      [true, 70],
      [false, 40],
    ]);
    expect(table(manifest).map((row) => row.slice(1, 3))).toEqual([
      [0, 50],
      [50, 110],
      [0, 70],
      [0, 40],
    ]);
    expect([manifest.byteLength, manifest.storedBytes]).toEqual([220, 90]);
  });
});

describe("fingerprint", () => {
  const shards = [shard("a", records([1, 2])), shard("b", records([3]))];
  const base = build(shards, { classes: ["x"] }).fingerprint;
  const [a, b] = shards as [ManifestShard, ManifestShard];
  const etag = { ...a, stored: { ...a.stored, etag: "other" } };
  const size = { ...a, stored: { ...a.stored, size: 4 } };

  it("is a sha-256 that the same dataset has again, wherever it lies and however its records are cut", () => {
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    expect(build(shards, { classes: ["x"], root: "file:///copy" }).fingerprint).toBe(base);
    expect(build([shard("a", records([2, 1])), b], { classes: ["x"] }).fingerprint).toBe(base);
  });
  it.each<[string, ManifestShard[], Partial<ManifestSource>]>([
    ["format", shards, { format: "files" }],
    ["classes", shards, { classes: ["y"] }],
    ["no classes", shards, { classes: undefined }],
    ["order", [b, a], {}],
    ["etag", [etag, b], {}],
    ["size", [size, b], {}],
    ["count", [shard("a", records([3])), b], {}],
    ["one more", [...shards, shard("", records([]))], {}],
  ])("tells another %s", (_, other, more) => {
    expect(build(other, { classes: ["x"], ...more }).fingerprint).not.toBe(base);
  });
});

describe("memory", () => {
  it("a million objects take about 100 bytes each", () => {
    const count = 10_000;
    const shards = Array.from({ length: count }, (_, i) => ({
      stored: {
        path: `train/n${String(i % 1000).padStart(8, "0")}/n0_${i}.JPEG`,
        size: 110_000,
        etag: `"${"a".repeat(32)}"`,
        lastModified: time,
      },
    }));
    const { memoryBytes } = build(shards, { format: "files" });
    expect(memoryBytes / count).toBeLessThan(100);
    expect(memoryBytes / count).toBeGreaterThan(60);
  });
  it("a record of a TFRecord shard takes 4 bytes", () => {
    const one = build([shard("a", records([5, 5]))]).memoryBytes;
    expect(build([shard("a", records(Array(1002).fill(5)))]).memoryBytes - one).toBe(4000);
  });
  it("crosses to a thread without a copy", async () => {
    const manifest = build([shard("a", records([5, 6], { keys: ["k0", "k1"] })), shard("b", records([7], { inflatedSize: 7 }), 3)], {
      classes: ["x"],
    });
    const buffers = manifest.toShared();
    const worker = new Worker(
      "require('node:worker_threads').parentPort.once('message', (b) => { b.firsts[0] = 0; b.sizes[1] = 4; require('node:worker_threads').parentPort.postMessage(b); })",
      { eval: true },
    );
    const back = new Promise<typeof buffers>((resolve, reject) => worker.once("message", resolve).once("error", reject));
    worker.postMessage(buffers);
    const copy = Manifest.fromShared(await back);
    await worker.terminate();
    expect(manifest.shard(1).size).toBe(4);
    expect(table(copy)).toEqual(table(manifest));
    expect(copy.fingerprint).toBe(manifest.fingerprint);
    expect(copy.classes).toEqual(["x"]);
  });
});
