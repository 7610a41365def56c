/** Which objects that a peer names this mill takes for its own. */
import { expect, test } from "vitest";
import { Mounts } from "../../../src/engine/mounts.js";
import type { EngineConfig } from "../../../src/options.js";
import type { OriginStore } from "../../../src/storage/origin-store.js";

const mount = (prefix: string, uri: string) => ({ prefix, uri, readOnly: false, admission: "lru", share: 1, s3: undefined }) as const;
function mounts(): Mounts {
  const config = {
    mounts: [mount("/set", "s3://bucket/set"), mount("/web", "https://host/public"), mount("/local", "file:///data/set")],
    s3: undefined,
  } as unknown as EngineConfig;
  return new Mounts(config, async (root) => ({ uri: root }) as OriginStore);
}

test.each([
  ["s3://bucket/set/a.tar", "set/a.tar"],
  ["https://host/public/a%20b", "public/a%20b"],
  ["file:///data/set/x/y", "data/set/x/y"],
])("%s is of a mount", async (uri, path) => {
  expect(await mounts().covering(uri)).toMatchObject({ path, rules: { admission: "lru" } });
});

test.each([
  "s3://bucket/other/a.tar",
  "s3://bucket/settled",
  "s3://elsewhere/set/a.tar",
  "https://host/public/../private/x",
  "https://host/public/%2e%2e/private/x",
  "https://host/public/a b",
  "file:///data/set/../other",
  "file:///data/set/./x",
  "file://host/data/set/x",
  "file:data/set/x",
  "nonsense",
])("%s is of none", async (uri) => {
  expect(await mounts().covering(uri)).toBeUndefined();
});

test("what was opened without a mount is known: the bucket, or the folder of a file", async () => {
  const own = mounts();
  for (const uri of ["s3://bare/a/b", "file:///folder/x.tar"]) await own.resolve(uri);
  expect(await own.covering("s3://bare/c")).toMatchObject({ path: "c" });
  expect(await own.covering("file:///folder/y.tar")).toMatchObject({ path: "folder/y.tar" });
  expect(await own.covering("file:///other/y.tar")).toBeUndefined();
});
