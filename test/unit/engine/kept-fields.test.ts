import { expect, test } from "vitest";
import type { Fields } from "../../../src/api.js";
import { MetadataCache } from "../../../src/cache/metadata-cache.js";
import type { EngineDataset } from "../../../src/engine/datasets.js";
import { keptFields } from "../../../src/engine/kept-fields.js";

const declared: Fields = { image: "bytes", label: { dtype: "int32", shape: [null], pad: Number.NaN } };

function dataset(id: string, end = 100): Omit<EngineDataset, "fields"> {
  const manifest = { shardOf: () => 0, recordBegin: () => 0, recordEnd: () => end, classes: undefined };
  return { name: "set", manifest, format: { name: "tfrecord" }, object: () => ({ id }), rows: () => undefined } as never;
}
function kept() {
  const metadata = new MetadataCache({ ttlMs: 1000, memoryBytes: 2 ** 20, directories: [] });
  let probes = 0;
  const ask = (of: Omit<EngineDataset, "fields">, fields?: Fields, found: Fields = fields ?? { record: "bytes" }) =>
    keptFields(metadata, of, fields, async () => {
      probes++;
      return found;
    });
  return { metadata, ask, probes: () => probes };
}

test("an answer is asked for once, with or without declared fields", async () => {
  const { ask, probes } = kept();
  expect(await ask(dataset("a"))).toEqual({ record: "bytes" });
  expect(await ask(dataset("a"))).toEqual({ record: "bytes" });
  expect(probes()).toBe(1);
  expect(await ask(dataset("a"), declared)).toBe(declared);
  // JSON has no NaN: what comes back is what was declared.
  expect(await ask(dataset("a"), declared)).toBe(declared);
  expect(probes()).toBe(2);
});

test("it holds for the same record of the same object only", async () => {
  const { ask, probes } = kept();
  await ask(dataset("a"));
  await ask(dataset("b"));
  await ask(dataset("a", 101));
  expect(probes()).toBe(3);
});

test("a failed probe is not kept", async () => {
  const { metadata, ask, probes } = kept();
  await expect(keptFields(metadata, dataset("a"), undefined, () => Promise.reject(new Error("torn")))).rejects.toThrow("torn");
  await ask(dataset("a"));
  expect(probes()).toBe(1);
});

test.each(["", "{", "null", "[]", "{}", '{"record":"float12"}', '{"image":"bytes"}'])("the answer %o is ignored", async (text) => {
  const { metadata, ask, probes } = kept();
  const given = { record: "bytes" } as const;
  const put = metadata.putBlob.bind(metadata);
  metadata.putBlob = (key) => put(key, Buffer.from(text));
  await ask(dataset("a"), given);
  if (text !== '{"image":"bytes"}') await ask(dataset("a"));
  metadata.putBlob = put;
  const before = probes();
  expect(await ask(dataset("a"), given)).toEqual(given);
  if (text !== '{"image":"bytes"}') expect(await ask(dataset("a"))).toEqual(given);
  expect(probes()).toBe(text === '{"image":"bytes"}' ? before + 1 : before + 2);
});
