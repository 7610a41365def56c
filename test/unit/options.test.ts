import { describe, expect, test } from "vitest";
import type { MillraceOptions } from "../../src/api.js";
import { DEFAULTS, millConfig } from "../../src/options.js";
import { refusal } from "../support/refusal.js";

const MIB = 2 ** 20;
const refusedMill = (options: unknown) => refusal(() => millConfig(options as MillraceOptions));

describe("millConfig", () => {
  test("without options: a worker, the defaults, no mounts", () => {
    const config = millConfig({});
    expect(config).toMatchObject({ inline: false, credentials: [] });
    expect(config.engine).toMatchObject({
      mounts: [],
      s3: undefined,
      stores: {},
      cache: {
        disk: [],
        blockSize: DEFAULTS.blockSize,
        metadata: { ttlMs: DEFAULTS.metadataTtlMs, memoryBytes: DEFAULTS.metadataBytes },
      },
      limits: {
        bandwidth: undefined,
        requestsPerSecond: undefined,
        concurrency: DEFAULTS.concurrency,
        hedge: DEFAULTS.hedge,
        maxRecordBytes: DEFAULTS.maxRecordBytes,
      },
      ioThreads: expect.any(Number),
    });
    expect(config.engine.cache.memoryBytes).toBeGreaterThan(0);
  });

  test("every option, in numbers", () => {
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const s3 = { endpoint: "http://127.0.0.1:9000", region: "eu-1", forcePathStyle: true, anonymous: false };
    const { engine, inline } = millConfig({
      mounts: {
        "/plain": "s3://bucket/data///",
        "/deep/er/": { uri: "s3://other", readOnly: true, admission: "lru", share: 0.25, s3 },
      },
      s3,
      stores: { gs: { url: new URL("file:///store.js"), export: "open", args: { bucket: "b" } }, own: { url: "file:///own.js" } },
      cache: {
        memory: "64MiB",
        disk: [
          { path: "/cache", capacity: "1GiB", highWatermark: 0.8, lowWatermark: 0.5 },
          { path: "/more", capacity: 5 * MIB },
        ],
        blockSize: "256KiB",
        metadata: { ttl: "5m", memory: "8MiB" },
      },
      limits: { bandwidth: "100MB", requestsPerSecond: 12.5, concurrency: 4, hedge: 0.01, maxRecordBytes: "16MiB" },
      engine: "inline",
      logger,
    });
    expect(inline).toBe(true);
    expect(engine).toEqual({
      mounts: [
        { prefix: "/plain", uri: "s3://bucket/data", readOnly: false, admission: "pin", share: 1, s3: undefined },
        { prefix: "/deep/er", uri: "s3://other", readOnly: true, admission: "lru", share: 0.25, s3: { ...s3, credentials: undefined } },
      ],
      s3: { ...s3, credentials: undefined },
      stores: {
        gs: { url: "file:///store.js", export: "open", args: { bucket: "b" } },
        own: { url: "file:///own.js", export: "default", args: undefined },
      },
      cache: {
        memoryBytes: 64 * MIB,
        disk: [
          { path: "/cache", capacity: 1024 * MIB, highWatermark: 0.8, lowWatermark: 0.5 },
          { path: "/more", capacity: 5 * MIB, highWatermark: DEFAULTS.highWatermark, lowWatermark: DEFAULTS.lowWatermark },
        ],
        blockSize: 256 * 1024,
        metadata: { ttlMs: 300_000, memoryBytes: 8 * MIB },
      },
      ioThreads: 1,
      limits: { bandwidth: 100e6, requestsPerSecond: 12.5, concurrency: 4, hedge: 0.01, maxRecordBytes: 16 * MIB },
    });
    structuredClone(engine); // It crosses to the engine's thread.
  });

  test("credentials that are functions stay behind and are known by number; others cross", () => {
    const first = async () => ({ accessKeyId: "a", secretAccessKey: "b" });
    const second = async () => ({ accessKeyId: "c", secretAccessKey: "d" });
    const fixed = { accessKeyId: "e", secretAccessKey: "f", sessionToken: "g", expiration: new Date(0) };
    const { engine, credentials } = millConfig({
      mounts: { "/a": { uri: "s3://a", s3: { credentials: first } }, "/b": { uri: "s3://b", s3: { credentials: fixed } } },
      s3: { credentials: second },
    });
    expect(engine.mounts[1]!.s3?.credentials).toEqual(fixed);
    const asked = [engine.mounts[0]!.s3?.credentials, engine.s3?.credentials] as { ask: number }[];
    expect(asked.map(({ ask }) => credentials[ask])).toEqual([first, second]);
    structuredClone(engine);
  });

  test("a high watermark below the default low one takes the low one with it", () => {
    const { engine } = millConfig({ cache: { disk: [{ path: "/c", capacity: 1, highWatermark: 0.5 }] } });
    expect(engine.cache.disk[0]).toMatchObject({ highWatermark: 0.5, lowWatermark: 0.5 });
  });

  test.each<[string, unknown, string]>([
    ["an unknown option", { chache: {} }, "chache: no such option (known: mounts, s3, "],
    ["an unknown inner option", { cache: { memroy: 1 } }, "cache.memroy: no such option (known: memory, disk, "],
    [
      "an unknown option in a list",
      { cache: { disk: [{ path: "/c", capacity: 1, size: 1 }] } },
      "cache.disk[0].size: no such option (known: path, capacity, ",
    ],
    ["no object at all", 7, "options: "],
    ["mounts", { mounts: 7 }, "mounts: "],
    ["a mount's path", { mounts: { imagenet: "s3://b" } }, 'mounts["imagenet"]: a mount is a path'],
    ["the root as a mount", { mounts: { "/": "s3://b" } }, 'mounts["/"]: a mount is a path'],
    ["a mount of the wrong kind", { mounts: { "/a": 7 } }, "mounts./a: "],
    ["an empty mount", { mounts: { "/a": "" } }, "mounts./a: "],
    ["a mount's uri", { mounts: { "/a": { uri: 7 } } }, "mounts./a.uri: "],
    ["a mount's readOnly", { mounts: { "/a": { uri: "s3://b", readOnly: "yes" } } }, "mounts./a.readOnly: "],
    ["a mount's admission", { mounts: { "/a": { uri: "s3://b", admission: "fifo" } } }, "mounts./a.admission: "],
    ["a mount's share", { mounts: { "/a": { uri: "s3://b", share: 1.5 } } }, "mounts./a.share: "],
    ["a share of nothing", { mounts: { "/a": { uri: "s3://b", share: 0 } } }, "mounts./a.share: "],
    [
      "a mount's unknown option",
      { mounts: { "/a": { uri: "s3://b", admision: "pin" } } },
      "mounts./a.admision: no such option (known: uri, ",
    ],
    ["a mount's s3", { mounts: { "/a": { uri: "s3://b", s3: { region: 7 } } } }, "mounts./a.s3.region: "],
    [
      "a time-out of peers shorter than their signs of life",
      { peers: { listen: "127.0.0.1:1", discover: "n:1", timeout: 50 } },
      "peers.timeout: ",
    ],
    ["a time-out of peers without end", { peers: { listen: "127.0.0.1:1", discover: "n:1", timeout: "600h" } }, "peers.timeout: "],
    ["an address for probes where nobody is served", { peers: { discover: "n:1", health: ":8080" } }, "peers.health: without peers.listen"],
    ["s3.endpoint", { s3: { endpoint: "ftp://host" } }, "s3.endpoint: expected an http(s) URL"],
    ["s3.endpoint without scheme", { s3: { endpoint: "127.0.0.1:9000" } }, "s3.endpoint: expected an http(s) URL"],
    ["s3.region", { s3: { region: "" } }, "s3.region: "],
    ["s3.forcePathStyle", { s3: { forcePathStyle: 1 } }, "s3.forcePathStyle: "],
    ["s3.anonymous", { s3: { anonymous: "true" } }, "s3.anonymous: "],
    ["s3.credentials", { s3: { credentials: "key" } }, "s3.credentials: "],
    ["incomplete credentials", { s3: { credentials: { accessKeyId: "a" } } }, "s3.credentials.secretAccessKey: "],
    ["stores", { stores: { GS: { url: "file:///x.js" } } }, "stores.GS: "],
    ["a store's url", { stores: { gs: { url: 7 } } }, "stores.gs.url: "],
    ["a store's export", { stores: { gs: { url: "file:///x.js", export: 7 } } }, "stores.gs.export: "],
    ["cache.memory", { cache: { memory: "4 gigs" } }, "cache.memory: expected bytes"],
    ["cache.memory of the wrong kind", { cache: { memory: true } }, "cache.memory: "],
    ["cache.disk", { cache: { disk: { path: "/c" } } }, "cache.disk: "],
    ["a disk's path", { cache: { disk: [{ path: "", capacity: 1 }] } }, "cache.disk[0].path: "],
    ["a disk's missing capacity", { cache: { disk: [{ path: "/c" }] } }, "cache.disk[0].capacity: "],
    [
      "a disk's capacity",
      {
        cache: {
          disk: [
            { path: "/c", capacity: 1 },
            { path: "/d", capacity: "big" },
          ],
        },
      },
      "cache.disk[1].capacity: expected bytes",
    ],
    ["a disk's highWatermark", { cache: { disk: [{ path: "/c", capacity: 1, highWatermark: 2 }] } }, "cache.disk[0].highWatermark: "],
    ["a disk's lowWatermark", { cache: { disk: [{ path: "/c", capacity: 1, lowWatermark: 0 }] } }, "cache.disk[0].lowWatermark: "],
    [
      "a low watermark above the high one",
      { cache: { disk: [{ path: "/c", capacity: 1, lowWatermark: 0.9, highWatermark: 0.8 }] } },
      "cache.disk[0].lowWatermark: 0.9 is above highWatermark 0.8",
    ],
    ["cache.blockSize below a slot", { cache: { blockSize: "32KiB" } }, "cache.blockSize: expected a power of two"],
    ["cache.blockSize that is no power of two", { cache: { blockSize: "192KiB" } }, "cache.blockSize: expected a power of two"],
    ["cache.blockSize of nothing", { cache: { blockSize: 0 } }, "cache.blockSize: expected a power of two"],
    ["cache.blockSize that is too large", { cache: { blockSize: "128MiB" } }, "cache.blockSize: expected a power of two"],
    ["cache.metadata.ttl", { cache: { metadata: { ttl: "soon" } } }, "cache.metadata.ttl: expected milliseconds"],
    ["cache.metadata.memory", { cache: { metadata: { memory: "much" } } }, "cache.metadata.memory: expected bytes"],
    ["limits.bandwidth of nothing", { limits: { bandwidth: 0 } }, "limits.bandwidth: 0 lets nothing through"],
    ["limits.bandwidth", { limits: { bandwidth: "fast" } }, "limits.bandwidth: expected bytes"],
    ["limits.requestsPerSecond", { limits: { requestsPerSecond: 0 } }, "limits.requestsPerSecond: "],
    ["limits.concurrency", { limits: { concurrency: 1.5 } }, "limits.concurrency: "],
    ["limits.hedge", { limits: { hedge: 1.5 } }, "limits.hedge: "],
    ["engine.ioThreads", { engine: { ioThreads: 0 } }, "engine"],
    ["engine.ioThreads of words", { engine: { ioThreads: "many" } }, "engine"],
    ["engine, unknown key", { engine: { threads: 2 } }, "engine"],
    ["limits.maxRecordBytes", { limits: { maxRecordBytes: "huge" } }, "limits.maxRecordBytes: expected bytes"],
    ["engine", { engine: "thread" }, "engine: "],
    ["logger", { logger: { info: () => {} } }, "logger: expected an object with debug, info, warn and error"],
  ])("refuses %s by its name", (_, options, message) => {
    expect(refusedMill(options)).toContain(message);
    expect(refusedMill(options).startsWith(message)).toBe(true);
  });

  test("tells of every mistake at once, a line each", () => {
    const lines = refusedMill({ engine: "thread", s3: { region: 7 }, cach: 1 }).split("\n");
    expect(lines.map((line) => line.split(":")[0]).sort()).toEqual(["cach", "engine", "s3.region"]);
  });

  test("never repeats a secret", () => {
    const message = refusedMill({ s3: { credentials: { accessKeyId: "AKIA", secretAccessKey: "hush", sessionToken: 7 } } });
    expect(message).not.toContain("hush");
  });
});
