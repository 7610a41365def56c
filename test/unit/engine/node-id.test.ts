import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { storedId } from "../../../src/engine/node-id.js";

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "millrace-id-"));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

it("is one for all processes that start at once, in a directory that is not there yet, and stays", async () => {
  const directory = join(parent, "cache", "of", "the-node");
  const ids = await Promise.all(Array.from({ length: 20 }, () => storedId(directory)));
  expect(new Set(ids).size).toBe(1);
  expect(await storedId(directory)).toBe(ids[0]);
  expect(await readdir(directory)).toEqual(["node-id"]);
});

it("is a new one each time where none can be kept", async () => {
  const file = join(parent, "file");
  await writeFile(file, "");
  expect(await storedId(join(file, "cache"))).not.toBe(await storedId(join(file, "cache")));
});
