/** Discovery by Redis, against Debian's redis-server. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient } from "@redis/client";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { parseDiscover } from "../../../src/peers/discovery/discover-spec.js";
import { openDiscovery } from "../../../src/peers/discovery/discovery.js";
import { BEAT_MS, TTL_MS } from "../../../src/peers/discovery/redis-engine.js";
import { IN_TIME } from "../../support/in-time.js";
import { ManualClock } from "../../support/manual-clock.js";
import { announcement, openOne } from "../../support/peers/discovery.js";
import { LineLog } from "../../support/peers/log.js";
import { TestRedis } from "../../support/peers/redis.js";

const PASSWORD = "p@ss/wörd#1";
let redis: TestRedis;
let uri: string;
let admin: ReturnType<typeof createClient>;
beforeAll(async () => {
  redis = await TestRedis.start({ password: PASSWORD });
  uri = `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}/3?prefix=job`;
  admin = createClient({ password: PASSWORD, database: 3, socket: { host: "127.0.0.1", port: redis.port } });
  await admin.connect();
}, 120_000);
afterAll(async () => {
  admin.destroy();
  await redis.close();
});
beforeEach(async () => {
  await admin.flushAll();
});

test("peers announce themselves with all that they are, and take it back when they close", async () => {
  const a = { id: "a", url: "http://10.0.0.1:7070", weight: 2, labels: { node: "n1" }, version: 1 };
  const first = await openOne(uri, a);
  const second = await openOne(uri, announcement("b", "10.0.0.2:7070"));
  expect(second.discovery.members()).toEqual([{ host: "10.0.0.1", port: 7070, id: "a", weight: 2, labels: { node: "n1" }, version: 1 }]);
  expect(first.found()).toEqual([]);
  await first.nextLook();
  expect(first.found()).toEqual(["10.0.0.2 7070 b"]);
  expect((await admin.keys("*")).sort()).toEqual(["job:peer:a", "job:peer:b", "job:peers"]);
  await second.discovery.close();
  expect((await admin.keys("*")).sort()).toEqual(["job:peer:a", "job:peers"]);
  await first.nextLook();
  expect(first.found()).toEqual([]);
});

test("each heartbeat renews the announcement; a peer that dies runs out and is forgotten", async () => {
  const live = await openOne(uri, announcement("live"));
  await admin.pExpire("job:peer:live", 1_000);
  await admin.set("job:peer:dead", JSON.stringify(announcement("dead", "10.0.0.9:7070")), { expiration: { type: "PX", value: TTL_MS } });
  await admin.sAdd("job:peers", "dead");
  expect(live.clock.sleeps.at(-1)).toBe(BEAT_MS);
  await live.nextLook();
  expect(live.found()).toEqual(["10.0.0.9 7070 dead"]);
  expect(await admin.pTTL("job:peer:live")).toBeGreaterThan(TTL_MS - 5_000);
  await admin.del("job:peer:dead"); // As the server does it when the time has run out.
  await live.nextLook();
  expect(live.found()).toEqual([]);
  expect(await admin.sMembers("job:peers")).toEqual(["live"]);
});

test("who only reads writes nothing", async () => {
  await openOne(uri, announcement("a", "10.0.0.1:7070"));
  const reader = await openOne(uri, announcement("b", "10.0.0.2:7070"), false);
  expect(reader.found()).toEqual(["10.0.0.1 7070 a"]);
  await admin.sAdd("job:peers", "stale");
  await reader.nextLook();
  await reader.discovery.close();
  expect((await admin.sMembers("job:peers")).sort()).toEqual(["a", "stale"]);
});

test("records that others wrote are left out, counted and told", async () => {
  const odd = {
    x: "{",
    y: JSON.stringify(announcement("z")),
    big: JSON.stringify({ ...announcement("big"), labels: { a: "b".repeat(300) } }),
  };
  for (const [id, record] of Object.entries(odd)) {
    await admin.set(`job:peer:${id}`, record);
    await admin.sAdd("job:peers", id);
  }
  const { discovery, log, found } = await openOne(uri);
  expect(found()).toEqual([]);
  expect(discovery.stats()).toMatchObject([{ ignored: 3, failures: 0 }]);
  expect(log.of("warn")).toHaveLength(1);
  for (const text of ['"x": not JSON', '"y" names another id', '"big": ', "labels.a"]) expect(log.of("warn")[0]).toContain(text);
});

test("two nodes with one id are told of it, each once; one that comes back at another address is not", async () => {
  const before = JSON.stringify(announcement("one", "10.0.0.9:7070"));
  await admin.set("job:peer:one", before);
  const [a, b] = [await openOne(uri, announcement("one", "10.0.0.1:7070")), await openOne(uri, announcement("two", "10.0.0.2:7070"))];
  await a.nextLook();
  const copy = await openOne(uri, announcement("one", "10.0.0.3:7070"));
  for (let looks = 0; looks < 3; looks++) for (const node of [a, copy, b]) await node.nextLook();
  const warning = expect.stringMatching(
    /^warn: .*two nodes have the id one, http:\/\/10\.0\.0\.\d:7070 and 10\.0\.0\.\d:7070: delete the file node-id/,
  );
  expect([a.log.of("warn"), copy.log.of("warn"), b.log.of("warn")]).toEqual([[warning], [warning], []]);
  expect(a.found()).toEqual(["10.0.0.2 7070 two"]);
  // With another id, and the record run out, all is well.
  await copy.discovery.close();
  await a.nextLook();
  expect(a.discovery.stats()).toMatchObject([{ ignored: 0 }]);
});

test("a long list is read less often than heartbeats are sent", async () => {
  const ids = Array.from({ length: 1_000 }, (_, i) => `p${i}`);
  const record = (id: string, i: number) => JSON.stringify(announcement(id, `10.1.${i >> 8}.${i & 255}:7070`));
  await admin.mSet(ids.flatMap((id, i) => [`job:peer:${id}`, record(id, i)]));
  await admin.sAdd("job:peers", ids);
  const { discovery, nextLook } = await openOne(uri);
  expect(discovery.members()).toHaveLength(1_000);
  const lists = async () => Number(/cmdstat_smembers:calls=(\d+)/.exec(await admin.info("commandstats"))![1]);
  const before = await lists();
  for (let looks = 0; looks < 9; looks++) await nextLook();
  expect((await lists()) - before).toBe(1); // Due after 20.02 s: at the fifth heartbeat, and at the tenth again.
  await nextLook();
  expect((await lists()) - before).toBe(2);
});

test("a wrong password is a failure like another; neither it nor another password is told", async () => {
  const wrong = "S3CRET-not-it";
  const { discovery, log, nextLook } = await openOne(`redis://:${wrong}@127.0.0.1:${redis.port}/3`);
  await nextLook();
  expect(discovery.stats()).toMatchObject([
    { engine: `redis://127.0.0.1:${redis.port}/3`, failures: 2, lastError: expect.stringContaining("WRONGPASS") },
  ]);
  expect(log.lines.length).toBe(2);
  expect(`${log.lines} ${JSON.stringify(discovery.stats())}`).not.toContain("S3CRET");
});

/** Takes connections and says nothing. */
async function silentServer() {
  const sockets = new Set<object>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket)).resume();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { sockets, port: (server.address() as AddressInfo).port };
}

test.each(["redis", "rediss"])("%s: a server that never answers costs the limit of a look; closing leaves no socket", async (scheme) => {
  const { sockets, port } = await silentServer();
  const clock = new ManualClock();
  const discovery = openDiscovery(parseDiscover(`${scheme}://127.0.0.1:${port}`), announcement("me"), { log: new LineLog(), clock });
  await vi.waitFor(() => expect(sockets.size).toBe(1), IN_TIME);
  await clock.advance(10_000);
  await discovery.ready;
  expect(discovery.stats()).toMatchObject([{ failures: 1, lastError: expect.stringContaining("no answer in 10 s") }]);
  await vi.waitFor(() => expect(sockets.size).toBe(0), IN_TIME);
  await clock.advance(500);
  await vi.waitFor(() => expect(sockets.size).toBe(1), IN_TIME);
  await discovery.close();
  await vi.waitFor(() => expect(sockets.size).toBe(0), IN_TIME);
  expect(clock.pending).toBe(0);
});

test("over TLS: a certificate that is not trusted is refused; one that is serves a process, which may end without closing", async () => {
  const secure = await TestRedis.start({ tls: true });
  onTestFinished(() => secure.close());
  const folder = await mkdtemp(join(tmpdir(), "millrace-members-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "members.json"), '["10.0.0.7:7070"]');
  const { discovery } = await openOne(`rediss://127.0.0.1:${secure.port}`);
  expect(discovery.stats()).toMatchObject([{ failures: 1, lastError: expect.stringMatching(/self[- ]signed/) }]);
  const child = new URL("fixtures/discover-child.ts", import.meta.url).pathname;
  const discover = [`rediss://127.0.0.1:${secure.port}`, `file:${folder}/members.json`, "10.0.0.6:7070"];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--import", "tsx", child, ...discover], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: secure.caFile },
    timeout: 20_000,
  });
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual(["10.0.0.6", "10.0.0.7"]);
});
