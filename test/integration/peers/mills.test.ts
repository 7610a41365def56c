/** Mills that share one cache, as their users open them: found by address, each with its own memory, before an origin that counts. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../../src/index.js";
import { makeDataset, sha256 } from "../../support/datasets/index.js";
import { IN_TIME } from "../../support/in-time.js";
import { type Origin, startOrigin } from "../../support/origin/index.js";
import { PATIENT } from "../../support/peers/cluster.js";
import { freePort } from "../../support/peers/daemon.js";
import { s3Options } from "../../support/s3-options.js";

const NODES = 3;
const SECRET = "of all nodes";
/** Of as many shards that each node owns some, however its id falls: that one of three owns none of 36 is one chance in a million, of 6 one in four. */
const made = makeDataset({ format: "tfrecord", samples: 600, shards: 36, bytesPerSample: 40_000, indexed: true });
let origin: Origin;
const mills: Millrace[] = [];

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  for (const [key, bytes] of made.objects) await origin.put("data", `set/${key}`, bytes);
});
afterAll(() => origin.close());
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));

async function open(listen: string, discover: string, more: Partial<MillraceOptions> = {}): Promise<Millrace> {
  const mill = await openMillrace({
    mounts: { "/data": "s3://data" },
    s3: s3Options(origin),
    cache: { memory: "64MiB", blockSize: "64KiB" },
    limits: { hedge: 0 },
    peers: { listen, discover, secret: SECRET, timeout: PATIENT },
    ...more,
  });
  mills.push(mill);
  return mill;
}

/** As many mills, each of which has found all others. */
async function cluster(count = NODES): Promise<Millrace[]> {
  const ports = await Promise.all(Array.from({ length: count }, () => freePort()));
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  const nodes = await Promise.all(addresses.map((address) => open(address, addresses.join(","))));
  await together(nodes, count);
  return nodes;
}

const together = (nodes: readonly Millrace[], count: number) =>
  vi.waitFor(() => expect(nodes.map((mill) => mill.stats().peers!.members)).toEqual(nodes.map(() => count)), { ...IN_TIME, interval: 50 });

/** Hashes of the samples of an epoch, of one rank or of all. */
async function epoch(mill: Millrace, number: number, rank = 0, worldSize = 1): Promise<string[]> {
  const dataset = await mill.dataset("/data/set", { fields: { image: "bytes" } });
  const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 5 }, rank, worldSize, remainder: "keep" });
  const seen: string[] = [];
  for await (const { columns, size } of loader.epoch(number)) for (let row = 0; row < size; row++) seen.push(sha256(columns.image.at(row)));
  await loader.close();
  return seen;
}

const expected = made.samples.map((sample) => sample.sha256).sort();
const sentOfShards = async () =>
  Object.entries((await origin.stats()).keys)
    .filter(([key]) => key.endsWith(".tfrecord"))
    .reduce((sum, [, { bytes }]) => sum + bytes, 0);

test("the origin is read once, however many nodes read all of it, and in later epochs not at all", async () => {
  const nodes = await cluster();
  await origin.reset();
  const epochs = await Promise.all(nodes.map((mill) => epoch(mill, 0)));
  for (const seen of epochs) expect(seen.sort()).toEqual(expected);
  const first = await sentOfShards();
  expect(first).toBeLessThanOrEqual(1.02 * made.byteLength);
  await Promise.all(nodes.map((mill) => epoch(mill, 1)));
  expect((await sentOfShards()) - first).toBe(0);
  for (const mill of nodes) {
    const { peers } = mill.stats();
    expect(peers).toMatchObject({ members: NODES, strangers: 0, corruptBlocks: 0, refused: 0 });
    expect(peers!.bytes).toBeGreaterThan(0);
    expect(peers!.servedBytes).toBeGreaterThan(0);
  }
}, 60_000);

test("ranks on different nodes together read each sample and the origin once", async () => {
  const nodes = await cluster();
  await origin.reset();
  const parts = await Promise.all(nodes.map((mill, rank) => epoch(mill, 0, rank, NODES)));
  expect(parts.flat().sort()).toEqual(expected);
  expect(await sentOfShards()).toBeLessThanOrEqual(1.02 * made.byteLength);
}, 60_000);

test("a node that closes costs its share of the origin once more, and no error", async () => {
  const [first, second, third] = (await cluster()) as [Millrace, Millrace, Millrace];
  await Promise.all([epoch(first, 0), epoch(second, 0), epoch(third, 0)]);
  await third.close();
  await origin.reset();
  const epochs = await Promise.all([epoch(first, 1), epoch(second, 1)]);
  for (const seen of epochs) expect(seen.sort()).toEqual(expected);
  expect(await sentOfShards()).toBeLessThanOrEqual(1.5 * made.byteLength);
}, 60_000);

test("a peer with other options is left alone, and counted", async () => {
  const ports = [await freePort(), await freePort()];
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  const lines: string[] = [];
  const logger = {
    debug() {},
    info() {},
    error() {},
    warn: (fields: object, message: string) => lines.push(`${message} ${JSON.stringify(fields)}`),
  };
  const one = await open(addresses[0]!, addresses.join(","), { logger });
  const other = await open(addresses[1]!, addresses.join(","), { cache: { memory: "64MiB", blockSize: "128KiB" } });
  await vi.waitFor(() => expect(lines.join("\n")).toMatch(/cache\.blockSize \(65536 here, 131072 there\)/), IN_TIME);
  expect((await epoch(one, 0)).sort()).toEqual(expected);
  expect((await epoch(other, 0)).sort()).toEqual(expected);
  expect(one.stats().peers).toMatchObject({ members: 1, strangers: 1, requests: 0 });
}, 60_000);

test("serves only objects of its own mounts", async () => {
  const ports = [await freePort(), await freePort()];
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  const one = await open(addresses[0]!, addresses.join(","), { mounts: { "/data": "s3://data" } });
  const other = await open(addresses[1]!, addresses.join(","), { mounts: { "/data": "s3://data/elsewhere" } });
  await together([one, other], 2);
  expect((await epoch(one, 0)).sort()).toEqual(expected);
  expect(other.stats().peers!.refused).toBeGreaterThan(0);
  expect(one.stats().peers!.bytes).toBe(0);
}, 60_000);

test("beyond loopback a secret is needed, and the message says so", async () => {
  await expect(openMillrace({ peers: { listen: "0.0.0.0:0", discover: "127.0.0.1:1" } })).rejects.toThrow(
    /^peers\.listen: 0\.0\.0\.0:0 can be reached from other machines: set peers\.secret/,
  );
  await expect(openMillrace({ peers: { listen: "127.0.0.1:0", discover: "ftp://x" } })).rejects.toThrow(/^peers\.discover: /);
  await expect(openMillrace({ peers: { listen: "127.0.0.1:0", discover: "127.0.0.1:1", secret: "" } })).rejects.toThrow(/^peers\.secret: /);
});
