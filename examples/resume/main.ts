/**
 * A training run that is killed (SIGKILL) 20 times, at random moments, and started again each time: it ends with exactly the weights of a run that
 * was left alone. With an argument, the moments are drawn from that seed.
 *
 *   npx tsx examples/resume/main.ts
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { openMillrace } from "millrace";
import { randomFrom } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";

const FEATURES = 8;
const KILLS = 20;
/** A run is killed after so many steps at most, and up to so many milliseconds later: in a step, while it saves, while it uploads. */
const MOST_STEPS = 12;
const MOST_MS = 20;

/** A run in `folder` up to its end, or to its death; resolves to the steps that it trained. */
async function train(shards: string, folder: string, dieAfter?: number, laterMs = 0): Promise<{ killed: boolean; steps: number }> {
  const trainer = fileURLToPath(new URL("./trainer.ts", import.meta.url));
  const child = fork(trainer, [shards, pathToFileURL(folder).href, join(folder, "cache")]);
  let steps = 0;
  child.on("message", async () => {
    if (++steps !== dieAfter) return;
    await sleep(laterMs);
    child.kill("SIGKILL");
  });
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  if (code !== 0 && signal !== "SIGKILL") throw new Error(`a run ended with ${signal ?? `exit code ${code}`}`);
  return { killed: code !== 0, steps };
}

/** The bytes of all that a run has learnt, and how many steps it took. */
async function learnt(folder: string): Promise<{ bytes: string; steps: number }> {
  await using mill = await openMillrace();
  const latest = (await mill.loadLatest(pathToFileURL(join(folder, "states")).href))!;
  const tensors = await latest.checkpoint.load();
  const bytes = [...tensors.values()].map((tensor) => Buffer.from(tensor.bytes).toString("hex")).join(" ");
  return { bytes, ...(latest.extra as { steps: number }) };
}

const seed = Number(process.argv[2] ?? Date.now() % 1e6);
const random = randomFrom(seed);
const folder = await temporaryFolder();
try {
  const [shards, whole, killed] = ["shards", "whole", "killed"].map((name) => join(folder.path, name)) as [string, string, string];
  for (const path of [shards, whole, killed]) await mkdir(path);
  const secret = Array.from({ length: FEATURES }, () => random() - 0.5);
  const samples = Array.from({ length: 320 }, (_, i): WebSample => {
    const x = Float32Array.from({ length: FEATURES }, () => random() - 0.5);
    const y = x.reduce((sum, value, j) => sum + value * secret[j]!, 0);
    return { key: String(i).padStart(6, "0"), members: { x: new Uint8Array(x.buffer), y: String(y) } };
  });
  await writeShards(shards, samples, 80);
  const source = pathToFileURL(shards).href;

  const alone = await train(source, whole);
  console.log(`left alone: ${alone.steps} steps`);

  console.log(`killed at moments of seed ${seed}`);
  const runs: Awaited<ReturnType<typeof train>>[] = [];
  while (runs.length === 0 || runs.at(-1)!.killed) {
    const dieAfter = runs.length < KILLS ? 1 + Math.floor(random() * MOST_STEPS) : undefined;
    runs.push(await train(source, killed, dieAfter, random() * MOST_MS));
  }
  const trained = runs.reduce((sum, { steps }) => sum + steps, 0);
  const [expected, reached] = [await learnt(whole), await learnt(killed)];
  console.log(`killed ${runs.length - 1} times, ${trained - reached.steps} of its steps trained again`);
  console.log(reached.steps === expected.steps && reached.bytes === expected.bytes ? "the weights are the same" : "THE WEIGHTS DIFFER");
} finally {
  await folder.remove();
}
