import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Place } from "../../../src/engine/mounts.js";
import { PendingFile } from "../../../src/engine/pending-versions.js";

test("a local file that is gone: the version is read from its origin if it is there, else it has changed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  const file = join(folder, "save-0.data");
  await writeFile(file, "local");
  const origin = async (_: object, __: number, [target]: readonly Uint8Array[]) => void Buffer.from("there").copy(target!);
  const place = { store: { uri: "s3://b", readInto: origin }, path: "m.safetensors", rules: {} } as unknown as Place;
  const pending = await PendingFile.open(place, { file, etag: '"pending-save-0"', savedMs: 0, check: async () => {} });
  const { store, stored } = pending.object;
  const read = async () => {
    const target = Buffer.alloc(5);
    await store.readInto(stored, 0, [target]);
    return target.toString();
  };
  expect(await read()).toBe("local");
  await rm(folder, { recursive: true });
  await expect(read()).rejects.toMatchObject({
    code: "MILLRACE_CHANGED",
    uri: "s3://b/m.safetensors",
    message: expect.not.stringContaining(folder),
  });
  pending.becomes({ ...stored, etag: '"1"' });
  expect(await read()).toBe("there");
});
