/** Processes that share a cache directory: one node, which reads the origin once and is one peer. Real processes, before an origin that counts. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../../src/index.js";
import { makeDataset, sha256 } from "../../support/datasets/index.js";
import { IN_TIME } from "../../support/in-time.js";
import { type Origin, type Shape, startOrigin } from "../../support/origin/index.js";
import { PATIENT } from "../../support/peers/cluster.js";
import { freePort } from "../../support/peers/daemon.js";
import { NodeProcess } from "../../support/peers/node-process.js";
import { s3Options } from "../../support/s3-options.js";

const PROCESSES = 4;
const made = makeDataset({ format: "tfrecord", samples: 600, shards: 6, bytesPerSample: 40_000, indexed: true });
const expected = made.samples.map((sample) => sample.sha256).sort();
let origin: Origin;
let directory: string;
let processes: NodeProcess[] = [];

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  for (const [key, bytes] of made.objects) await origin.put("data", `set/${key}`, bytes);
});
afterAll(() => origin.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "millrace-node-"));
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map((one) => one.close()));
  await origin.shape({});
  await rm(directory, { recursive: true, force: true });
});

const optionsOf = (more: Partial<MillraceOptions> = {}): MillraceOptions => ({
  mounts: { "/data": "s3://data" },
  s3: s3Options(origin),
  cache: { memory: 0, blockSize: "64KiB", disk: [{ path: directory, capacity: "256MiB" }] },
  limits: { hedge: 0 },
  ...more,
});

/** Processes that know of each other. */
async function node(more: Partial<MillraceOptions> = {}): Promise<NodeProcess[]> {
  processes = await Promise.all(Array.from({ length: PROCESSES }, () => NodeProcess.start(optionsOf(more))));
  await vi.waitFor(
    async () => {
      const stats = await Promise.all(processes.map((one) => one.stats()));
      expect(stats.map(({ disk }) => disk!.processes)).toEqual(processes.map(() => PROCESSES));
    },
    { ...IN_TIME, interval: 100 },
  );
  await origin.reset();
  return processes;
}

const sentOfShards = async () =>
  Object.entries((await origin.stats()).keys)
    .filter(([key]) => key.endsWith(".tfrecord"))
    .reduce((sum, [, { bytes }]) => sum + bytes, 0);

test("the origin is read once, however many processes read all of it", async () => {
  const all = await node();
  const epochs = await Promise.all(all.map((one) => one.epoch(0)));
  for (const seen of epochs) expect(seen.sort()).toEqual(expected);
  expect(await sentOfShards()).toBeLessThanOrEqual(1.02 * made.byteLength);
  await Promise.all(all.map((one) => one.epoch(1)));
  expect(await sentOfShards()).toBeLessThanOrEqual(1.02 * made.byteLength);
}, 120_000);

test("ranks of one node together read each sample and the origin once", async () => {
  const all = await node();
  const parts = await Promise.all(all.map((one, rank) => one.epoch(0, rank, PROCESSES)));
  expect(parts.flat().sort()).toEqual(expected);
  expect(await sentOfShards()).toBeLessThanOrEqual(1.02 * made.byteLength);
}, 120_000);

/** Of the origin, while one is to be in the midst of fetching, however long the test takes to get on. */
const TRICKLE: Shape = { firstByteMs: 20, totalBytesPerSecond: 200_000 };

/** One that fetches for all of them, in mid-epoch, and the epochs of the others, who wait for what it brings. The origin but trickles. */
async function fetching(): Promise<{ first: NodeProcess; its: Promise<string[]>; rest: NodeProcess[]; epochs: Promise<string[][]> }> {
  const [first, ...rest] = (await node()) as [NodeProcess, ...NodeProcess[]];
  await origin.shape({ firstByteMs: 20, totalBytesPerSecond: 4_000_000 });
  const its = first.epoch(0);
  its.catch(() => {});
  await first.begun.promise;
  await origin.shape(TRICKLE);
  const epochs = Promise.all(rest.map((one) => one.epoch(0)));
  await rest[0]!.begun.promise;
  return { first, its, rest, epochs };
}

async function takeovers(all: readonly NodeProcess[]): Promise<number> {
  const stats = await Promise.all(all.map((one) => one.stats()));
  return stats.reduce((sum, { disk }) => sum + (disk!.claimTakeovers as number), 0);
}

test("one that is killed in mid-epoch costs the others what it was fetching", async () => {
  const { first, rest, epochs } = await fetching();
  first.signal("SIGKILL");
  expect(await sentOfShards()).toBeLessThan(0.9 * made.byteLength);
  await origin.shape({});
  for (const seen of await epochs) expect(seen.sort()).toEqual(expected);
  expect(await takeovers(rest)).toBeGreaterThan(0);
  expect(await sentOfShards()).toBeLessThanOrEqual(1.25 * made.byteLength);
}, 120_000);

test("one that stands still in mid-epoch holds nobody up for good, and goes on when it is let", async () => {
  const { first, its, rest, epochs } = await fetching();
  first.signal("SIGSTOP");
  expect(await sentOfShards()).toBeLessThan(0.9 * made.byteLength);
  await origin.shape({});
  for (const seen of await epochs) expect(seen.sort()).toEqual(expected);
  expect(await takeovers(rest)).toBeGreaterThan(0);
  first.signal("SIGCONT");
  expect((await its).sort()).toEqual(expected);
}, 120_000);

test("one process answers the node's peers, and another when it is gone", async () => {
  const [here, there] = [await freePort(), await freePort()].map((port) => `127.0.0.1:${port}`) as [string, string];
  const peers = { discover: `${here},${there}`, secret: "of all nodes", timeout: PATIENT };
  const all = await node({ peers: { ...peers, listen: here } });
  const other = await openMillrace(optionsOf({ cache: { memory: "64MiB", blockSize: "64KiB" }, peers: { ...peers, listen: there } }));
  try {
    await members(all, other);
    const [before] = await listening(all);
    await origin.reset();
    const epochs = await Promise.all([epochOf(other), ...all.map((one) => one.epoch(0))]);
    for (const seen of epochs) expect(seen.sort()).toEqual(expected);
    expect(await sentOfShards()).toBeLessThanOrEqual(1.02 * made.byteLength);
    before!.signal("SIGKILL");
    const left = all.filter((one) => one !== before);
    await vi.waitFor(async () => expect(await listening(left)).toHaveLength(1), { ...IN_TIME, interval: 100 });
    await members(left, other);
    // What the node holds on disk is still the cluster's, through whichever process answers.
    await vi.waitFor(async () => {
      await origin.reset();
      expect((await epochOf(other)).sort()).toEqual(expected);
      expect(await sentOfShards()).toBe(0);
    }, IN_TIME);
  } finally {
    await other.close();
  }
}, 120_000);

const members = (all: readonly NodeProcess[], other: Millrace) =>
  vi.waitFor(
    async () => {
      const stats = await Promise.all(all.map((one) => one.stats()));
      expect([...stats, other.stats()].map(({ peers }) => peers!.members)).toEqual([...all.map(() => 2), 2]);
    },
    { ...IN_TIME, interval: 100 },
  );

async function listening(all: readonly NodeProcess[]): Promise<NodeProcess[]> {
  const stats = await Promise.all(all.map((one) => one.stats()));
  return all.filter((_, i) => stats[i]!.peers!.listening === 1);
}

async function epochOf(mill: Millrace): Promise<string[]> {
  const dataset = await mill.dataset("/data/set", { fields: { image: "bytes" } });
  const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 5 } });
  const seen: string[] = [];
  for await (const { columns, size } of loader.epoch(0)) for (let row = 0; row < size; row++) seen.push(sha256(columns.image.at(row)));
  await loader.close();
  return seen;
}
