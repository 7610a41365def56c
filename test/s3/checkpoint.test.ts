/** Checkpoints on a real server: what is saved is what is loaded, by hash; overwritten, sharded, saved back, and aborted. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { type Millrace, type NamedTensor, openMillrace } from "../../src/index.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { s3Client } from "./fixture.js";

const rgw = inject("rgw");
const BUCKET = "checkpoints";
const MIB = 2 ** 20;
const client = s3Client(rgw);
const mills: Millrace[] = [];
let folder: string;

const open = async (): Promise<Millrace> => {
  const { endpoint, region, credentials } = rgw;
  const s3 = { endpoint, region, credentials, forcePathStyle: true };
  const cache = { memory: "128MiB", disk: [{ path: await mkdtemp(join(folder, "disk-")), capacity: "500MiB" }] };
  mills.push(await openMillrace({ s3, cache, mounts: { "/ckpt": { uri: `s3://${BUCKET}/ckpt`, admission: "lru" } } }));
  return mills.at(-1)!;
};
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const model = (seed: number): NamedTensor[] => [
  { name: "wte", dtype: "F32", shape: [5 * MIB], data: new Float32Array(drawnBytes(20 * MIB, seed).buffer) },
  { name: "head", dtype: "BF16", shape: [7, 1000], data: drawnBytes(14_000, seed + 1) },
  { name: "mask", dtype: "BOOL", shape: [3 * MIB + 1], data: drawnBytes(3 * MIB + 1, seed + 2) },
];
const hashes = (tensors: Iterable<NamedTensor>) =>
  [...tensors].map(({ name, data }) => `${name} ${sha(Buffer.from(data.buffer, data.byteOffset, data.byteLength))}`).sort();
const loaded = async (mill: Millrace, path: string) => hashes((await (await mill.checkpoint(path)).load()).values());
const keys = async (prefix: string) => {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
  return Contents.map(({ Key }) => Key!);
};
const uploads = async () => (await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }))).Uploads ?? [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  client.destroy();
  await rm(folder, { recursive: true, force: true });
});

describe.each(["through", "back"] as const)("saved %s", (write) => {
  test("one file, and overwritten: the server has the bytes that the mill says, and the cache the same", async () => {
    const mill = await open();
    const path = `/ckpt/${write}/step-1.safetensors`;
    for (const seed of [1, 2]) {
      await mill.saveCheckpoint(path, model(seed), { write, metadata: { seed: String(seed) } });
      await mill.flush();
      const { etag, size } = await mill.stat(path);
      const { Body, ETag } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: path.slice(1) }));
      const bytes = await Body!.transformToByteArray();
      expect({ etag, size }).toEqual({ etag: ETag, size: bytes.length });
      const requests = mill.stats().origin!.requests;
      expect(sha(await mill.readFile(path))).toBe(sha(bytes));
      expect(mill.stats().origin!.requests).toBe(requests);
      for (const other of [mill, await open()]) expect(await loaded(other, path)).toEqual(hashes(model(seed)));
    }
  });

  test("sharded, and overwritten, and older ones removed", async () => {
    const mill = await open();
    const path = (step: number) => `/ckpt/${write}-shards/s-${step}.safetensors.index.json`;
    for (const step of [1, 2, 3, 3]) {
      await mill.saveCheckpoint(path(step), model(step), { write, maxShardBytes: "16MiB", keep: 2 });
      await mill.flush();
    }
    const left = await keys(`ckpt/${write}-shards/`);
    expect(left).toHaveLength(6);
    expect(left.filter((key) => key.includes("/s-1"))).toEqual([]);
    for (const step of [2, 3]) expect(await loaded(await open(), path(step))).toEqual(hashes(model(step)));
  });
});

test("an abort in the middle leaves neither object nor parts", async () => {
  const mill = await open();
  const stop = new AbortController();
  const onProgress = ({ bytes }: { bytes: number }) => {
    if (bytes > 0) stop.abort();
  };
  const saving = mill.saveCheckpoint("/ckpt/aborted.safetensors", [...model(1), ...model(9).map((t) => ({ ...t, name: `${t.name}9` }))], {
    signal: stop.signal,
    onProgress,
  });
  await expect(saving).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  await expect.poll(uploads, { timeout: 10_000 }).toEqual([]);
  expect(await keys("ckpt/aborted")).toEqual([]);
});
