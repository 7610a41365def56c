/** A process ends by itself when its program has: not later, and not while something is awaited (exit code 13). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";
import { runScript } from "../support/script-process.js";

const SCRIPT = new URL("./fixtures/loader-script.ts", import.meta.url);

let local: LocalDataset;
beforeAll(async () => {
  local = await localDataset({ format: "tfrecord", samples: 100, shards: 2, bytesPerSample: 2_000 });
});
afterAll(() => local.remove());

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  test.each([
    ["idle", []],
    ["never pulled", []],
    ["dropped iterator", []],
    ["early stop", []],
    ["all epochs", ["rows 96"]],
    ["break and close", ["loader closed"]],
    ["close in the loop", []],
  ])("%s", async (what, said) => {
    expect(await runScript(SCRIPT, [local.uri, engine, what])).toEqual({ code: 0, lines: [...said, "reached the end"] });
  });
});
