/** A Redis that dies, freezes and comes back empty: peers go on with the last list, and find each other again. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { BEAT_MS, TTL_MS } from "../../../src/peers/discovery/redis-engine.js";
import { IN_TIME } from "../../support/in-time.js";
import { announcement, openOne } from "../../support/peers/discovery.js";
import { TestRedis } from "../../support/peers/redis.js";

let redis: TestRedis;
beforeAll(async () => {
  redis = await TestRedis.start();
}, 120_000);
afterAll(() => redis.close());
const uri = (prefix: string) => `redis://127.0.0.1:${redis.port}?prefix=${prefix}`;

test("a server that dies and comes back empty drops no peer that finds back to it", async () => {
  const [a, b, c] = [
    await openOne(uri("died"), announcement("a", "10.0.0.1:7070")),
    await openOne(uri("died"), announcement("b", "10.0.0.2:7070")),
    await openOne(uri("died"), announcement("c", "10.0.0.3:7070")),
  ];
  await a.nextLook();
  await b.nextLook();
  const all = ["10.0.0.2 7070 b", "10.0.0.3 7070 c"];
  expect(a.found()).toEqual(all);
  const changed = vi.fn();
  a.discovery.onChange(changed);
  b.discovery.onChange(changed);
  await redis.stop();
  for (let i = 0; i < 3; i++) {
    await a.nextLook();
    await b.nextLook();
  }
  expect(a.discovery.stats()).toMatchObject([{ failures: 3, failing: true, peers: 3 }]);
  await redis.restart();
  await a.nextLook(); // Alone on an empty server.
  expect(a.discovery.stats()).toMatchObject([{ failures: 3, failing: false }]);
  await b.nextLook();
  expect(changed).not.toHaveBeenCalled();
  // c has died meanwhile: it is dropped when it has had the time to come back.
  for (let passed = 0; passed < TTL_MS; passed += BEAT_MS) {
    expect(a.found()).toEqual(all);
    await a.nextLook();
  }
  expect(a.found()).toEqual(["10.0.0.2 7070 b"]);
  expect(a.log.of("warn")).toHaveLength(1);
  expect(a.log.of("info")).toHaveLength(1);
  await c.discovery.close();
});

test("a server that freezes costs each look its limit; closing waits a second for it", async () => {
  const a = await openOne(uri("froze"), announcement("a", "10.0.0.1:7070"));
  const b = await openOne(uri("froze"), announcement("b", "10.0.0.2:7070"));
  await a.nextLook();
  redis.freeze();
  const { looks } = a.discovery.stats()[0]!;
  await a.clock.advance(5_000);
  await a.clock.advance(10_000);
  expect(a.discovery.stats()).toMatchObject([{ looks: looks + 1, failures: 1, lastError: expect.stringContaining("no answer in 10 s") }]);
  expect(a.found()).toEqual(["10.0.0.2 7070 b"]);
  const closed = b.discovery.close();
  await vi.waitFor(() => expect(b.clock.pending).toBe(1), IN_TIME);
  await b.clock.advance(1_000);
  await closed;
  expect(b.clock.pending).toBe(0);
  redis.thaw();
  await a.nextLook();
  expect(a.discovery.stats()).toMatchObject([{ failing: false }]);
});
