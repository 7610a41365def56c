/** How a node takes its place among its peers, and leaves it: with the id of another, when Redis has gone, with probes beside TLS. */
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../../src/index.js";
import { RedisEngine } from "../../../src/peers/discovery/redis-engine.js";
import { IN_TIME } from "../../support/in-time.js";
import { selfSigned } from "../../support/origin/certificate.js";
import { type Origin, startOrigin } from "../../support/origin/index.js";
import { addresses, nodeOptions } from "../../support/peers/cluster.js";
import { freePort } from "../../support/peers/daemon.js";
import { LineLog } from "../../support/peers/log.js";
import { TestRedis } from "../../support/peers/redis.js";

let origin: Origin;
let directory: string;
const mills: Millrace[] = [];

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
});
afterAll(() => origin.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "millrace-presence-"));
});
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await rm(directory, { recursive: true, force: true });
});

async function open(options: MillraceOptions): Promise<{ mill: Millrace; log: LineLog }> {
  const log = new LineLog();
  const mill = await openMillrace({ ...options, logger: Object.assign(log, { error: () => {} }) });
  mills.push(mill);
  return { mill, log };
}

/** A node's options, with a cache directory. */
function withDisk(name: string, listen: string | undefined, discover: string): MillraceOptions {
  const options = nodeOptions(origin, listen, discover);
  return { ...options, cache: { ...options.cache, disk: [{ path: join(directory, name), capacity: "64MiB" }] } };
}

test("nodes with copies of one cache directory are told so, and read what is right", async () => {
  await origin.put("data", "set/x", Buffer.alloc(300_000, 7));
  const at = await addresses(3);
  for (const name of ["a", "b"]) {
    await mkdir(join(directory, name));
    await writeFile(join(directory, name, "node-id"), "11111111-2222-3333-4444-555555555555");
  }
  const all = at.join(",");
  const [a, b, c] = [
    await open(withDisk("a", at[0]!, all)),
    await open(withDisk("b", at[1]!, all)),
    await open(withDisk("c", at[2]!, all)),
  ];
  const twins = ({ log }: { log: LineLog }) => log.of("warn").filter((line) => line.includes("delete the file node-id"));
  const seen = () => [a, b, c].map((node) => [twins(node).length, node.mill.stats().peers!.members]);
  // The copies know c and themselves, c one of the copies.
  const each = [1, 2];
  await vi.waitFor(() => expect(seen()).toEqual([each, each, each]), { ...IN_TIME, interval: 50 });
  for (const { mill } of [a, b, c]) expect(Buffer.from(await mill.readFile("/data/set/x")).equals(Buffer.alloc(300_000, 7))).toBe(true);
  expect(seen()).toEqual([each, each, each]);
});

test("a process that asks is not taken for a copy of the node whose directory it shares", async () => {
  const [at, other] = await addresses(2);
  const all = `${at},${other}`;
  const first = await open(withDisk("a", at, all));
  const second = await open(withDisk("a", other, all));
  await vi.waitFor(() => expect(first.mill.stats().disk!.processes).toBe(2), IN_TIME);
  expect([first, second].map(({ mill }) => mill.stats().peers!.listening)).toEqual([1, 0]);
  expect([...first.log.of("warn"), ...second.log.of("warn")].filter((line) => line.includes("node-id"))).toEqual([]);
});

test("a mill closes although it cannot leave its peers as it should", async () => {
  const redis = await TestRedis.start();
  const close = vi.spyOn(RedisEngine.prototype, "close").mockRejectedValue(new Error("the server has gone"));
  try {
    const at = `127.0.0.1:${await freePort()}`;
    const { mill, log } = await open(withDisk("a", at, `redis://127.0.0.1:${redis.port}`));
    const lock = join(directory, "a", "millrace-v1", "listener");
    await access(lock);
    await redis.close();
    await mill.close();
    expect(close).toHaveBeenCalledOnce();
    expect(log.of("warn").at(-1)).toContain("the server has gone");
    // Its place is free, and its address.
    await expect(access(lock)).rejects.toThrow("ENOENT");
    await open(nodeOptions(origin, at, "127.0.0.1:9"));
  } finally {
    close.mockRestore();
    await redis.close();
  }
}, 60_000);

test("with TLS, probes are answered where `health` says, until the node has left", async () => {
  const { key, cert } = selfSigned();
  const [at, health] = await addresses(2);
  const options = nodeOptions(origin, at, at!);
  const { mill } = await open({ ...options, peers: { ...options.peers!, tls: { key, cert, ca: cert }, health } });
  const status = async (path: string) => (await fetch(`http://${health}${path}`)).status;
  expect([await status("/healthz"), await status("/readyz"), await status("/v1/peer")]).toEqual([200, 200, 404]);
  await mill.close();
  await expect(status("/healthz")).rejects.toThrow();
});

test("an address of `health` that is taken ends the opening, and leaves nobody listening", async () => {
  const [at, health] = await addresses(2);
  const options = nodeOptions(origin, at, at!);
  await open({ ...nodeOptions(origin, health, health!) });
  await expect(open({ ...options, peers: { ...options.peers!, health } })).rejects.toMatchObject({
    code: "MILLRACE_CONFIG",
    message: expect.stringContaining("peers.health"),
  });
  await open(options);
});
