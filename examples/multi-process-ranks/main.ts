/**
 * Four processes share an epoch without talking to each other: each computes the same global order and takes its own part.
 *
 *   npx tsx examples/multi-process-ranks/main.ts
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";

const RANKS = 4;
interface Part {
  readonly keys: readonly string[];
  readonly steps: number;
}

function startRank(rank: number, shards: string): Promise<Part> {
  const env = { ...process.env, RANK: String(rank), WORLD_SIZE: String(RANKS) };
  const child = fork(fileURLToPath(new URL("./rank.ts", import.meta.url)), [shards], { env });
  return new Promise((resolve, reject) => {
    let part: Part | undefined;
    child.once("message", (message) => {
      part = message as Part;
    });
    child.once("error", reject);
    child.once("exit", (code) => (part !== undefined && code === 0 ? resolve(part) : reject(new Error(`rank ${rank} ended with ${code}`))));
  });
}

const folder = await temporaryFolder();
try {
  const samples = Array.from(
    { length: 1003 },
    (_, i): WebSample => ({ key: String(i).padStart(6, "0"), members: { cls: String(i % 10) } }),
  );
  await writeShards(folder.path, samples, 100);
  const parts = await Promise.all(Array.from({ length: RANKS }, (_, rank) => startRank(rank, folder.path)));

  for (const [rank, { keys, steps }] of parts.entries())
    console.log(`rank ${rank}: ${keys.length} samples in ${steps} steps, beginning with ${keys[0]}`);
  const all = parts.flatMap((part) => part.keys);
  console.log(`${all.length} samples in all, ${new Set(all).size} different ones, of ${samples.length}`);
  console.log(
    all.length === samples.length && new Set(all).size === samples.length ? "every sample exactly once" : "NOT every sample once",
  );
} finally {
  await folder.remove();
}
