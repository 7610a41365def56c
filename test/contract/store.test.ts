import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

/** Runs the contract against a store that is there only once `make` has run. */
function contract(title: string, make: () => Promise<StoreHarness>, shape: Pick<StoreHarness, "lists"> & { writes?: boolean } = {}): void {
  describe(title, () => {
    let harness: StoreHarness;
    beforeAll(async () => {
      harness = await make();
    });
    afterAll(() => harness.store.close?.());
    const names = storeContract({
      ...shape,
      store: { ...memoryStore(), ...(shape.writes !== false && { write: async () => fail() }) } as Store,
    });
    for (const { name } of names)
      it(name, () =>
        storeContract(harness)
          .find((one) => one.name === name)!
          .run(),
      );
  });
}

function fail(): never {
  throw new Error("a stand-in, to name the cases");
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

contract("memory", async () => ({ store: memoryStore("contract") }));

contract("file", async () => ({ store: new FileStore(folder), unsupportedNames: ["a/../b", "a//b"] }));

contract("s3", async () => ({
  store: await openStore("s3://contract", { s3: { endpoint: origin.endpoint, forcePathStyle: true, credentials: origin.credentials } }),
}));

contract(
  "http",
  async () => ({
    store: await openStore(origin.endpoint),
    prefix: "web/contract/",
    lists: false,
    pathOf: encodePath,
    put: (path, bytes) => origin.put("web", decodeURIComponent(path.slice("web/".length)), bytes),
    // A URL's dots are resolved by whoever sends it.
    unsupportedNames: ["a/../b"],
  }),
  { lists: false, writes: false },
);

contract("a user's module", async () => ({
  store: await openStore("own://bucket", {
    stores: { own: { url: new URL("../support/own-store.ts", import.meta.url), export: "open", args: { name: "own" } } },
  }),
}));

contract("memory, failing, within retry, limits and counters", async () => {
  const counters = newCounters();
  const faulty = new FaultStore(memoryStore("faulty"), { errorRate: 0.1, truncateRate: 0.1, stallRate: 0.05, stallMs: 1 });
  const { write: _, ...reads } = withCounters(faulty, counters);
  const store = withRetry(withLimits({ ...reads, write: memoryStore("faulty").write.bind(memoryStore("faulty")) }, new Limiter()), {
    tries: 30,
    baseMs: 1,
    capMs: 2,
  });
  return { store };
});

it("leaves no temporary file behind", async () => {
  const names = await readdir(folder, { recursive: true });
  expect(names.filter((name) => name.includes("millrace-tmp"))).toEqual([]);
  expect(names.length).toBeGreaterThan(1000);
});
