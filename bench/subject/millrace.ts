/** Millrace over http, as its README shows it: shuffled epochs, the index files beside the shards. */

import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Epoch, type LoaderOptions, openMillrace } from "../../src/index.js";
import { requestsSoFar } from "../lib/nginx.js";
import type { Figures } from "../lib/scenario.js";
import { measurePasses, parameters, type Read, report, Tally } from "../lib/subject.js";

/** `cold`: empty block cache. `memory`, `disk`: the tier that holds all of it. */
export type MillracePhase = "cold" | "memory" | "memory, recycled" | "disk";
export interface MillraceParameters {
  /** A brace pattern: http servers cannot be listed. */
  readonly source: string;
  /** Of the payload: `record` in TFRecord, the member's extension in tar. */
  readonly field: string;
  readonly batchSize: number;
  /** The memory tier. */
  readonly memory: string;
  /** Folder to make a cache directory in, for the phase `disk`. */
  readonly diskFolder?: string | undefined;
  readonly diskCapacity?: string | undefined;
  readonly ioThreads?: number | undefined;
  readonly statusUrl: string;
  readonly passes: number;
  readonly phases: readonly MillracePhase[];
}

const given = parameters<MillraceParameters>();
const directory = given.diskFolder === undefined ? undefined : await mkdtemp(join(given.diskFolder, "cache-"));
const mill = await openMillrace({
  cache: { memory: given.memory, ...(directory && { disk: [{ path: directory, capacity: given.diskCapacity! }] }) },
  ...(given.ioThreads && { engine: { ioThreads: given.ioThreads } }),
});
const dataset = await mill.dataset(given.source, { fields: { [given.field]: "bytes" } });
const open = (options: Partial<LoaderOptions>) => dataset.loader({ batchSize: given.batchSize, shuffle: { seed: 1 }, ...options });
const loaders = { fresh: open({}), recycled: open({ recycle: true }) };
let epoch = 0;

async function readAll(batches: Epoch<Record<string, "bytes">>, release: boolean): Promise<Read> {
  const tally = new Tally();
  for await (const batch of batches) {
    const { values, offsets } = batch.columns[given.field]!;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
    if (release) batch.release();
  }
  return tally;
}

/** The figures of a phase, with what nginx counted meanwhile. */
async function measurePhase(phase: MillracePhase): Promise<Figures> {
  const recycled = phase.endsWith("recycled");
  const loader = recycled ? loaders.recycled : loaders.fresh;
  const run = () => readAll(loader.epoch(epoch++), recycled);
  if (phase !== "cold") await run();
  let requests = 0;
  const around = {
    async before() {
      if (phase === "cold") await mill.evict(given.source);
      requests -= await requestsSoFar(given.statusUrl);
    },
    async after() {
      // The count takes a request of its own.
      requests += (await requestsSoFar(given.statusUrl)) - 1;
    },
  };
  const figures = await measurePasses(given.passes, run, around);
  const perPass = requests / given.passes;
  return { ...figures, requests: perPass, requestsPerGigabyte: perPass / (figures.bytes! / 1e9) };
}

// A first pass over all of it touches the memory that the cache will hold, as the ceiling's is touched before its clock starts: on a
// virtual machine the first touch of a page is the host's work and costs up to 3 s/GB. Then the cache is emptied; the record index stays.
await readAll(loaders.fresh.epoch(epoch++), false);
if (directory !== undefined) {
  while (mill.stats().disk!.queuedBytes !== 0) await sleep(50);
  await sleep(300); // The figures are brought up to date every quarter of a second.
  spawnSync("sync"); // The system writing it back would be measured as reading.
}
const phases: Record<string, Figures> = {};
for (const phase of given.phases) phases[phase] = await measurePhase(phase);
await mill.close();
if (directory !== undefined) await rm(directory, { recursive: true });
report(phases);
