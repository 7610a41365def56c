/** Where the data is, and bringing it there: what each node holds, and a prefetch in which each loads what it owns. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Millrace, openMillrace, type Progress } from "../../../src/index.js";
import { IN_TIME } from "../../support/in-time.js";
import { type Origin, startOrigin } from "../../support/origin/index.js";
import { addresses, nodeOptions, openCluster, PATIENT, SECRET } from "../../support/peers/cluster.js";

const MIB = 2 ** 20;
// As many that each of three nodes owns some, however its id falls.
const OBJECTS = 40;
const SIZES = Array.from({ length: OBJECTS }, (_, i) => (i === 0 ? 20 * MIB + 5 : 100_000 + i));
const TOTAL = SIZES.reduce((sum, size) => sum + size, 0);

let origin: Origin;
let at: string[] = [];
let mills: Millrace[] = [];
beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  for (const [i, size] of SIZES.entries()) await origin.put("data", `set/${i}.bin`, new Uint8Array(size));
  await origin.put("data", "other/1.bin", new Uint8Array(5));
});
beforeEach(async () => {
  at = await addresses(3);
  await origin.clearFaults();
  await origin.shape({});
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(() => origin.close());

const labelled = (i: number) => ({
  peers: { listen: at[i], discover: at.join(","), secret: SECRET, timeout: PATIENT, labels: { node: `node-${i}` } },
});
async function cluster(more: Parameters<typeof openCluster>[2] = labelled): Promise<Millrace[]> {
  mills = await openCluster(origin, at, more);
  await origin.reset();
  return [...mills];
}
async function asking(): Promise<Millrace> {
  const mill = await openMillrace(nodeOptions(origin, undefined, at.join(",")));
  mills.push(mill);
  return mill;
}
const heldBy = (nodes: readonly Millrace[]) => nodes.map((mill) => mill.stats().memory!.heldBytes as number);
/** A call refreshes the figures. */
const heldNow = async (nodes: readonly Millrace[]) => {
  await Promise.all(nodes.map((mill) => mill.peers()));
  return heldBy(nodes);
};
const ranged = async () => (await origin.stats()).bytesSent;

describe("prefetching for the cluster", () => {
  test("each node loads what it owns, once; progress and report are of all of it", async () => {
    const nodes = await cluster();
    const seen: Progress[] = [];
    const job = nodes[0]!.prefetch("/data/set", { scope: "cluster", onProgress: (progress) => seen.push(progress) });
    expect(await job.done).toEqual({ objects: OBJECTS, bytes: TOTAL, alreadyCached: 0, failures: [] });
    expect(job.progress).toMatchObject({ objects: OBJECTS, totalObjects: OBJECTS, bytes: TOTAL, totalBytes: TOTAL });
    expect(seen.at(-1)).toEqual(job.progress);
    const held = await heldNow(nodes);
    expect(held.every((bytes) => bytes > 0)).toBe(true);
    expect(held.reduce((sum, bytes) => sum + bytes, 0)).toBe(TOTAL);
    expect(await ranged()).toBe(TOTAL);
    // No bytes of it went from node to node.
    expect(nodes.map((mill) => mill.stats().peers!.servedBytes)).toEqual([0, 0, 0]);
    expect(await nodes[1]!.prefetch("/data/set", { scope: "cluster" }).done).toEqual({
      objects: OBJECTS,
      bytes: 0,
      alreadyCached: TOTAL,
      failures: [],
    });
    expect(await ranged()).toBe(TOTAL);
  }, 60_000);

  test("a process that only asks has them load, and holds nothing", async () => {
    const nodes = await cluster();
    const mill = await asking();
    expect(await mill.prefetch("/data/set", { scope: "cluster" }).done).toMatchObject({ bytes: TOTAL, failures: [] });
    expect(await heldNow([mill])).toEqual([0]);
    expect((await heldNow(nodes)).reduce((sum, bytes) => sum + bytes, 0)).toBe(TOTAL);
    expect(nodes.map((node) => node.stats().peers!.members)).toEqual([3, 3, 3]);
    expect(await mill.peers()).toMatchObject([{ state: "self", url: undefined, weight: 0 }, ...nodes.map(() => ({ state: "member" }))]);
  }, 60_000);

  test("a process that only asks reads the directory that it shares with a node, and leaves fetching to it", async () => {
    const path = await mkdtemp(join(tmpdir(), "millrace-locality-"));
    try {
      const cache = { memory: 0, disk: [{ path, capacity: "64MiB" }], blockSize: "64KiB" };
      const [node] = (await cluster((i) => ({ ...labelled(i), ...(i === 0 && { cache }) }))) as [Millrace];
      const asker = await openMillrace({ ...nodeOptions(origin, undefined, at.join(",")), cache });
      mills.push(asker);
      expect((await asker.peers()).map(({ state }) => state)).toEqual(["self", "member", "member", "member"]);
      expect(await asker.prefetch("/data/set", { scope: "cluster" }).done).toMatchObject({ bytes: TOTAL, failures: [] });
      for (const [i, size] of SIZES.entries()) expect(await asker.readFile(`/data/set/${i}.bin`)).toHaveLength(size);
      expect(await ranged()).toBe(TOTAL);
      await Promise.all([node.peers(), asker.peers()]);
      const owned = node.stats().disk!.heldBytes as number;
      expect(owned).toBeGreaterThan(0);
      // What is being written yet is read from the node's memory.
      expect(asker.stats().disk!.bytes).toBeGreaterThan(0);
      expect((asker.stats().disk!.bytes as number) + (asker.stats().peers!.bytes as number)).toBe(TOTAL);
      expect(asker.stats().disk).toMatchObject({ writes: 0 });
    } finally {
      await Promise.all(mills.splice(0).map((mill) => mill.close()));
      await rm(path, { recursive: true });
    }
  }, 60_000);

  test("a node that ends meanwhile fails its part; the others load theirs, and nothing waits for it", async () => {
    const nodes = await cluster();
    await origin.shape({ firstByteMs: 150 });
    const job = nodes[0]!.prefetch("/data/set", { scope: "cluster" });
    await vi.waitFor(() => expect(job.progress.totalBytes).toBe(TOTAL), IN_TIME);
    await nodes[2]!.close();
    const { failures, objects } = await job.done;
    expect(objects + failures.length).toBe(OBJECTS);
    for (const { code, message } of failures)
      expect([code, message]).toEqual(["MILLRACE_UNAVAILABLE", expect.stringMatching(/did not load what it owns/)]);
    const owned = (mill: Millrace) => mill.prefetch("/data/set").done;
    // Who has ended owns for 10 s more: what these two own of it, they hold.
    for (const report of [await owned(nodes[0]!), await owned(nodes[1]!)]) expect(report).toMatchObject({ bytes: 0, failures: [] });
  }, 60_000);

  test("for the process: what this node owns, and no more", async () => {
    const nodes = await cluster();
    const reports = await Promise.all(nodes.map((mill) => mill.prefetch("/data/set").done));
    expect(reports.map(({ bytes }) => bytes)).toEqual(await heldNow(nodes));
    expect(reports.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(TOTAL);
    expect(reports.flatMap(({ failures }) => failures)).toEqual([]);
    expect(await ranged()).toBe(TOTAL);
  }, 60_000);

  test("pauses, goes on, and is cancelled", async () => {
    const nodes = await cluster();
    const job = nodes[0]!.prefetch("/data/set", { scope: "cluster" });
    job.pause();
    await nodes[0]!.stat("/data/set/1.bin");
    await nodes[0]!.prefetch("/data/other", { scope: "cluster" }).done;
    expect(await ranged()).toBe(5);
    job.resume();
    expect(await job.done).toMatchObject({ bytes: TOTAL, failures: [] });
    await Promise.all(nodes.map((mill) => mill.evict("/data/set")));
    const second = nodes[0]!.prefetch("/data/set", { scope: "cluster" });
    second.pause();
    await nodes[0]!.stat("/data/set/1.bin");
    second.cancel();
    await expect(second.done).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(await heldNow(nodes)).toEqual(nodes.map(() => expect.any(Number)));
    expect((await heldNow(nodes)).reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(5);
  }, 60_000);

  test("a node without the mount, or without room, fails its part alone, and the report says so", async () => {
    // Not one of the objects fits.
    const small = { cache: { memory: "64KiB", blockSize: "64KiB" } };
    const nodes = await cluster((i) => ({ ...labelled(i), ...(i === 1 && { mounts: {} }), ...(i === 2 && small) }));
    const { failures, bytes, objects } = await nodes[0]!.prefetch("/data/set", { scope: "cluster" }).done;
    const codes = new Set(failures.map(({ code }) => code));
    expect(codes).toEqual(new Set(["MILLRACE_UNAVAILABLE", "MILLRACE_NO_SPACE"]));
    expect(objects + failures.length).toBe(OBJECTS);
    expect(failures.find(({ code }) => code === "MILLRACE_UNAVAILABLE")!.message).toMatch(
      /^the node \S+ \(http:\S+\) did not load what it owns of it: /,
    );
    expect(failures.find(({ code }) => code === "MILLRACE_NO_SPACE")!.message).toMatch(/ of \d+ bytes did not fit the cache of node /);
    const held = await heldNow(nodes);
    expect(held[1]).toBe(0);
    expect(bytes).toBe(held[0]! + held[2]!);
  }, 60_000);

  test("without peers it is the same as for the process, and another word is refused", async () => {
    mills = [await openMillrace({ ...nodeOptions(origin, undefined, ""), peers: undefined })];
    expect(await mills[0]!.prefetch("/data/set", { scope: "cluster" }).done).toMatchObject({
      objects: OBJECTS,
      bytes: TOTAL,
      failures: [],
    });
    expect(() => mills[0]!.prefetch("/data/set", { scope: "world" as never })).toThrow(/^prefetch: scope: expected "process" or "cluster"/);
  });
});

describe("locating", () => {
  test("tells what each node holds, whoever asks", async () => {
    const nodes = await cluster();
    expect((await nodes[0]!.locate("/data/set")).map(({ bytes, share }) => [bytes, share])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
    await nodes[0]!.prefetch("/data/set", { scope: "cluster" }).done;
    const held = await heldNow(nodes);
    const asker = await asking();
    // What a peer has told is told again for 2 s.
    const shares = await vi.waitFor(
      async () => {
        const now = await asker.locate("/data/set");
        expect(now.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(TOTAL);
        return now;
      },
      { ...IN_TIME, interval: 200 },
    );
    expect(new Map(shares.map(({ labels, bytes }) => [labels.node, bytes]))).toEqual(new Map(held.map((bytes, i) => [`node-${i}`, bytes])));
    expect(shares.map(({ bytes, share }) => share - bytes / TOTAL)).toEqual([0, 0, 0]);
    expect(shares.map(({ bytes }) => bytes)).toEqual([...held].sort((a, b) => b - a));
    expect(await nodes[2]!.locate("/data/set")).toEqual(shares);
    const one = await asker.locate("/data/set/1.bin");
    expect(one.map(({ bytes }) => bytes)).toEqual([SIZES[1], 0, 0]);
    await expect(asker.locate("/data/nothing")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  }, 60_000);

  test("leaves out who does not say, and logs it", async () => {
    const lines: string[] = [];
    const nodes = await cluster((i) => ({ ...labelled(i), ...(i === 1 && { mounts: {} }) }));
    const logger = {
      debug() {},
      info() {},
      error() {},
      warn: (fields: object, message: string) => void lines.push(message + JSON.stringify(fields)),
    };
    const asker = await openMillrace({ ...nodeOptions(origin, undefined, at.join(",")), logger });
    mills.push(asker);
    expect((await asker.locate("/data/set")).map(({ labels }) => labels.node).sort()).toEqual(["node-0", "node-2"]);
    expect(lines).toEqual([expect.stringMatching(/^A peer does not say what it holds.*no such object here/)]);
    await nodes[1]!.peers();
    expect(nodes[1]!.stats().peers!.refused).toBe(1);
  }, 60_000);

  test("without peers tells of this process", async () => {
    mills = [await openMillrace({ ...nodeOptions(origin, undefined, ""), peers: undefined })];
    await mills[0]!.readFile("/data/set/1.bin");
    expect(await mills[0]!.locate("/data/set")).toEqual([
      { node: expect.any(String), labels: {}, bytes: SIZES[1], share: SIZES[1]! / TOTAL },
    ]);
    expect(await mills[0]!.peers()).toEqual([]);
  });
});

test("peers are told with what is wrong with them", async () => {
  const [first, second] = await cluster();
  const found = await first!.peers();
  expect(found).toMatchObject([
    { state: "self", url: `http://${at[0]}`, labels: { node: "node-0" }, weight: 1, reason: undefined },
    { state: "member", weight: 1 },
    { state: "member", weight: 1 },
  ]);
  mills.push(await openMillrace(nodeOptions(origin, undefined, `${at[1]},127.0.0.1:9`)));
  expect(await mills.at(-1)!.peers()).toMatchObject([
    { state: "self", url: undefined },
    { state: "member", id: (await second!.peers())[0]!.id },
    { state: "stranger", url: "http://127.0.0.1:9", id: undefined, reason: expect.stringMatching(/./) },
  ]);
}, 60_000);
