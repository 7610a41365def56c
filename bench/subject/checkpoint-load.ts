/** `mill.checkpoint(…).load()`: from the origin, and from the tier that holds it. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openMillrace, type S3Options } from "../../src/index.js";
import { measureReads } from "../lib/checkpoint-data.js";
import { processMemory } from "../lib/process-memory.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report } from "../lib/subject.js";

/** `first`: by a mill that was just opened, with the most memory that it took. `cold`: by one that is warm, with an empty cache. */
export type LoadPhase = "first" | "cold" | "memory" | "disk";
export interface CheckpointLoadParameters {
  /** The origin's folder, and the checkpoint's path below it. */
  readonly uri: string;
  readonly path: string;
  readonly s3?: S3Options | undefined;
  /** The memory tier. */
  readonly memory: string;
  /** Folder to make a cache directory in. */
  readonly diskFolder?: string | undefined;
  readonly diskCapacity?: string | undefined;
  readonly phases: readonly LoadPhase[];
  readonly passes: number;
}

const given = parameters<CheckpointLoadParameters>();
const directory = given.diskFolder === undefined ? undefined : await mkdtemp(join(given.diskFolder, "cache-"));
const mill = await openMillrace({
  mounts: { "/ckpt": { uri: given.uri, admission: "lru", s3: given.s3 } },
  cache: { memory: given.memory, ...(directory && { disk: [{ path: directory, capacity: given.diskCapacity! }] }) },
});
const source = `/ckpt/${given.path}`;

async function load(): Promise<Uint8Array[]> {
  const checkpoint = await mill.checkpoint(source);
  const tensors = await checkpoint.load();
  return checkpoint.tensors.map(({ name }) => tensors.get(name)!.bytes);
}

async function first(): Promise<Figures> {
  globalThis.gc?.();
  const before = processMemory("VmRSS");
  let peak = 0;
  const figures = await measureReads(1, async () => {
    const loaded = await load();
    peak = processMemory("VmHWM");
    return loaded;
  });
  return { ...figures, extraPeakMegabytes: (peak - before - figures.bytes!) / 1e6 };
}

/** What is loaded once is in a tier then; on disk it is written behind. */
async function filled(): Promise<void> {
  await load();
  if (directory === undefined) return;
  while (mill.stats().disk!.queuedBytes !== 0) await sleep(50);
  await sleep(300); // The figures are brought up to date every quarter of a second.
  spawnSync("sync"); // The system writing it back would be measured as reading.
}

const phases: Record<string, Figures> = {};
for (const phase of given.phases) {
  if (phase === "first") {
    phases[phase] = await first();
    continue;
  }
  await filled();
  phases[phase] = await measureReads(given.passes, load, async () => phase === "cold" && mill.evict(source));
}
await mill.close();
if (directory !== undefined) await rm(directory, { recursive: true });
report(phases);
