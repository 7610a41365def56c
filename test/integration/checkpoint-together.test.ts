/** Nodes that share a cache and load one checkpoint at once: the origin gives each byte once, and a pinned dataset stays where it is. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type Millrace, openMillrace } from "../../src/index.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { makeDataset } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { PATIENT } from "../support/peers/cluster.js";
import { freePort } from "../support/peers/daemon.js";
import { s3Options } from "../support/s3-options.js";
import { fileWith } from "../support/safetensors.js";

const NODES = 4;
const MIB = 2 ** 20;
const data = drawnBytes(48 * MIB);
const tensors = Array.from({ length: 6 }, (_, i) => ({
  name: `layer.${i}`,
  dtype: "F32",
  shape: [2048, 1024],
  bytes: data.subarray(i * 8 * MIB, (i + 1) * 8 * MIB),
}));
const file = fileWith(tensors);
const dataset = makeDataset({ format: "tfrecord", samples: 200, shards: 2, bytesPerSample: 40_000, indexed: true });
let origin: Origin;
const mills: Millrace[] = [];

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  await origin.put("data", "ckpt/model.safetensors", file);
  for (const [key, bytes] of dataset.objects) await origin.put("data", `set/${key}`, bytes);
});
afterAll(() => origin.close());
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));

async function open(listen: string | undefined, discover: string, memory: string): Promise<Millrace> {
  const mill = await openMillrace({
    mounts: { "/set": "s3://data/set", "/ckpt": { uri: "s3://data/ckpt", admission: "lru" } },
    s3: s3Options(origin),
    cache: { memory },
    limits: { hedge: 0 },
    ...(listen && { peers: { listen, discover, secret: "of all nodes", timeout: PATIENT } }),
  });
  mills.push(mill);
  return mill;
}

async function load(mill: Millrace): Promise<void> {
  const loaded = await (await mill.checkpoint("/ckpt/model.safetensors")).load();
  for (const { name, bytes } of tensors) expect(Buffer.compare(loaded.get(name)!.bytes, bytes)).toBe(0);
}

test(`${NODES} nodes at once take each byte from the origin once, and the rest from each other`, async () => {
  const addresses = (await Promise.all(Array.from({ length: NODES }, () => freePort()))).map((port) => `127.0.0.1:${port}`);
  const nodes = await Promise.all(addresses.map((address) => open(address, addresses.join(","), "64MiB")));
  await vi.waitFor(() => expect(nodes.map((mill) => mill.stats().peers!.members)).toEqual(nodes.map(() => NODES)), {
    ...IN_TIME,
    interval: 50,
  });
  await origin.reset();
  await Promise.all(nodes.map(load));
  expect((await origin.stats()).bytesSent).toBeLessThanOrEqual(1.02 * file.length);
  await origin.reset();
  await Promise.all(nodes.map(load));
  expect((await origin.stats()).kinds.get).toBe(0);
});

test("a checkpoint that is longer than the cache does not push out what a dataset has pinned there", async () => {
  const mill = await open(undefined, "", "20MiB");
  const images = await mill.dataset("/set", { fields: { image: "bytes" } });
  const epoch = async () => {
    const loader = images.loader({ batchSize: 20 });
    let samples = 0;
    for await (const { size } of loader.epoch(0)) samples += size;
    await loader.close();
    expect(samples).toBe(200);
  };
  await epoch();
  await load(mill);
  await origin.reset();
  await epoch();
  expect((await origin.stats()).kinds.get).toBe(0);
});
