/** One cluster: nodes as processes on loopback, epochs one after the other, and in the midst of the last one perhaps a mishap. */
import { connectOrigin } from "../../test/support/origin/client.js";
import type { OriginInfo } from "../../test/support/origin/index.js";
import type { EpochReport } from "../../test/support/peers/cluster-node.js";
import { type ClusterOptions, flaws, type Mishap, ProcessCluster } from "../../test/support/peers/process-cluster.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report } from "../lib/subject.js";

export interface ClusterParameters {
  readonly cluster: Omit<ClusterOptions, "origin">;
  readonly origin: OriginInfo;
  readonly samples: number;
  /** Of all shards. */
  readonly bytes: number;
  /** Of each step, milliseconds. */
  readonly computeMs: number;
  /** Of the steps of epochs that only fill the caches: those before a mishap. */
  readonly fillComputeMs: number;
  /** Phase of each epoch, from epoch 0. One with an empty name is not read. */
  readonly epochs: readonly string[];
  /** In the last one. */
  readonly mishap?: Mishap | undefined;
}

/** Of an epoch's steps, before the mishap. */
const MISHAP_AFTER = 1 / 6;

const given = parameters<ClusterParameters>();
const origin = connectOrigin(given.origin);
const cluster = await ProcessCluster.start({ ...given.cluster, origin });
process.once("SIGTERM", () => void cluster.end().finally(() => process.exit(1)));

function read(number: number, mishap: Mishap | undefined): Promise<EpochReport[]> {
  const { computeMs, samples, cluster: options } = given;
  if (mishap === undefined) return cluster.epoch(number, given.mishap === undefined ? computeMs : given.fillComputeMs);
  if (mishap === "restart") return cluster.rollingRestart(number, computeMs);
  const each = options.reading === "ranks" ? samples / options.nodes : samples;
  return cluster.mishap(mishap, number, computeMs, Math.floor((each / options.loader.batchSize) * MISHAP_AFTER));
}

/** What the loops were given, all together: where ranks share the epoch, what those that are left had to read. */
function judge(reports: readonly EpochReport[]) {
  const { samples, cluster: options } = given;
  if (options.reading === "ranks") return flaws(reports, (samples / options.nodes) * cluster.nodes.length);
  const each = reports.map((one) => flaws([one], samples));
  const sum = (key: "wrong" | "missing" | "twice") => each.reduce((total, one) => total + one[key], 0);
  return { wrong: sum("wrong"), missing: sum("missing"), twice: sum("twice") };
}

/** Why nodes have not been served by their peers so far: for whoever wonders about the figures. */
async function sayFallbacks(name: string): Promise<void> {
  const seen: Record<string, number> = {};
  for (const node of cluster.nodes)
    for (const [key, count] of Object.entries((await node.stats()).peers ?? {}))
      if (/^(fallbacks|refused|corrupt)/.test(key) && count !== 0) seen[key] = (seen[key] ?? 0) + (count as number);
  const text = Object.entries(seen).map(([key, count]) => `${key} ${count}`);
  if (text.length > 0) console.error(`${name}: ${text.join(", ")}`);
}

async function phase(number: number, mishap: Mishap | undefined): Promise<Figures> {
  if (number > 0) await origin.reset();
  const owned = (await cluster.nodes.at(-1)!.stats()).memory!.heldBytes as number;
  const begun = performance.now();
  const reports = await read(number, mishap);
  const wallSeconds = (performance.now() - begun) / 1000;
  const sent = await cluster.originBytes();
  const { kinds } = await origin.stats();
  await sayFallbacks(given.epochs[number]!);
  return {
    ...judge(reports),
    originShare: sent / given.bytes,
    originRequests: kinds.get,
    wallSeconds,
    longestWaitMs: Math.max(...reports.map((one) => one.longestWaitMs)),
    cpuSeconds: reports.reduce((sum, one) => sum + one.cpuSeconds, 0),
    stopped: reports.filter(({ ended }) => !ended).length,
    ...(mishap !== undefined && { ownedShare: owned / given.bytes }),
  };
}

const phases: Record<string, Figures> = {};
try {
  for (const [number, name] of given.epochs.entries())
    if (name !== "") phases[name] = await phase(number, number === given.epochs.length - 1 ? given.mishap : undefined);
  await cluster.close();
} finally {
  await cluster.end();
}
report(phases);
