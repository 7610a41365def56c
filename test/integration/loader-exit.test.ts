/** A process ends by itself when its program has: not later, and not while something is awaited (exit code 13). */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";

const SCRIPT = fileURLToPath(new URL("./fixtures/loader-script.ts", import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
/** A process that has not ended by then never will: a run takes 1 to 3 s. */
const LIMIT_MS = 20_000;

let local: LocalDataset;
beforeAll(async () => {
  local = await localDataset({ format: "tfrecord", samples: 100, shards: 2, bytesPerSample: 2_000 });
});
afterAll(() => local.remove());

function run(...args: string[]): Promise<{ code: number | null; output: string[] }> {
  const child = spawn(process.execPath, ["--import", TSX, SCRIPT, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_OPTIONS: "", NODE_V8_COVERAGE: "" },
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  return new Promise((resolve) =>
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output: output.trim().split("\n") });
    }),
  );
}

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
    expect(await run(local.uri, engine, what)).toEqual({ code: 0, output: [...said, "reached the end"] });
  });
});
