/**
 * A training process is killed (SIGKILL) in the middle of its second epoch and started again. It goes on from the state it last
 * saved: up to there and from there on, the order of samples is that of a run that was never killed.
 *
 *   npx tsx examples/resume-after-crash/main.ts
 */
import { spawn } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LoaderState } from "millrace";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";

interface Step {
  readonly epoch: number;
  readonly step: number;
  readonly keys: readonly string[];
}

/** Runs the trainer to its end; resolves to how it ended. */
async function train(...args: string[]): Promise<string> {
  const trainer = fileURLToPath(new URL("./trainer.ts", import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, trainer, ...args], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}
async function readLog(run: string): Promise<Step[]> {
  const text = await readFile(join(run, "log.jsonl"), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Step);
}
const order = (steps: readonly Step[]) => steps.flatMap((step) => step.keys.map((key) => `${step.epoch}/${key}`)).join(" ");

const folder = await temporaryFolder();
try {
  const [shards, whole, killed] = ["shards", "whole", "killed"].map((name) => join(folder.path, name)) as [string, string, string];
  for (const path of [shards, whole, killed]) await mkdir(path);
  const samples = Array.from({ length: 500 }, (_, i): WebSample => ({ key: String(i).padStart(6, "0"), members: { cls: String(i % 10) } }));
  await writeShards(shards, samples, 100);

  console.log("a run that is left alone:");
  console.log(`ended with ${await train(shards, whole)}`);
  const uninterrupted = await readLog(whole);

  console.log("a run that is killed after 43 steps:");
  console.log(`ended with ${await train(shards, killed, "43")}`);
  const state = JSON.parse(await readFile(join(killed, "state.json"), "utf8")) as LoaderState;
  const before = await readLog(killed);
  console.log(`saved last: epoch ${state.epoch}, ${state.position} samples used`);

  console.log("started again:");
  console.log(`ended with ${await train(shards, killed)}`);
  const after = (await readLog(killed)).slice(before.length);

  // The steps after the last saved state are trained again; what was learnt in them was lost with the process.
  const kept = before.slice(
    0,
    before.findIndex((s) => s.epoch === after[0]!.epoch && s.step === after[0]!.step),
  );
  console.log(`${kept.length} steps kept, ${before.length - kept.length} done again, ${after.length} after the restart`);
  console.log(order([...kept, ...after]) === order(uninterrupted) ? "the order of samples is unbroken" : "THE ORDER IS BROKEN");
} finally {
  await folder.remove();
}
