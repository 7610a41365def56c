import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newCounters, withCounters } from "../../src/storage/count.js";
import { FileStore } from "../../src/storage/file-store.js";
import { Limiter, withLimits } from "../../src/storage/limit.js";
import { openStore } from "../../src/storage/open-store.js";
import { withRetry } from "../../src/storage/retry.js";
import type { Store } from "../../src/storage/store.js";
import { encodePath } from "../../src/storage/uri.js";
import { FaultStore, memoryStore, type StoreHarness, storeContract } from "../../src/testing/index.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { keys } from "../support/s3-keys.js";

function contract(title: string, harness: StoreHarness): void {
  describe(title, () => {
    for (const { name, run } of storeContract(harness)) it(name, run);
  });
}

let folder: string;
let origin: Origin;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-contract-"));
  origin = await startOrigin({ buckets: ["contract", "web"], anonymousRead: true });
});
afterAll(async () => {
  await origin?.close();
  await rm(folder, { recursive: true, force: true });
});

contract("memory", { open: () => memoryStore("contract") });

contract("file", { open: () => new FileStore(folder), unsupportedNames: ["a/../b", "a//b"] });

let s3: Store;
contract("s3", {
  open: async () => {
    s3 = await openStore("s3://contract", { s3: { endpoint: origin.endpoint, forcePathStyle: true, credentials: keys(origin) } });
    return s3;
  },
  // Unsigned uploads are faster by far than the SDK's; their URL cannot name every key.
  put: async (path, bytes) => {
    if (path.includes("/many/")) await origin.put("contract", path, bytes);
    else await s3.write!(path, Readable.from([bytes]));
  },
});

contract("http", {
  open: () => openStore(origin.endpoint),
  prefix: "web/contract/",
  lists: false,
  writes: false,
  pathOf: encodePath,
  put: (path, bytes) => origin.put("web", decodeURIComponent(path.slice("web/".length)), bytes),
  // A URL's dots are resolved by whoever sends it.
  unsupportedNames: ["a/../b"],
});

contract("a user's module", {
  open: () =>
    openStore("own://bucket", {
      stores: { own: { url: new URL("../support/own-store.ts", import.meta.url), export: "open", args: { name: "own" } } },
    }),
});

contract("memory, failing, within retry, limits and counters", {
  open: () => {
    const memory = memoryStore("faulty");
    const faulty = new FaultStore(memory, { errorRate: 0.1, truncateRate: 0.1, stallRate: 0.05, stallMs: 1 });
    // Writes are not retried, hence spared.
    const spared: Store = {
      uri: faulty.uri,
      list: (...args) => faulty.list(...args),
      stat: (...args) => faulty.stat(...args),
      readInto: (...args) => faulty.readInto(...args),
      write: (...args) => memory.write(...args),
      remove: (...args) => faulty.remove(...args),
    };
    return withRetry(withLimits(withCounters(spared, newCounters()), new Limiter({ concurrency: 32 })), { tries: 30, baseMs: 1, capMs: 2 });
  },
});

it("leaves no temporary file behind", async () => {
  const names = await readdir(folder, { recursive: true });
  expect(names.filter((name) => name.includes("millrace-tmp"))).toEqual([]);
  expect(names.length).toBeGreaterThan(1000);
});
