/**
 * Nodes that share one cache, each a process of its own on loopback with a memory tier of its own, before an origin that counts. What the origin
 * has sent is given as a part of the dataset; hedges are off. "k·f": what all memory tiers hold together ÷ the dataset.
 *
 * Where the memory tiers hold all of it each node reads every sample, as jobs that know nothing of each other do, at a pace that leaves this
 * machine some time: nodes that take turns on two cores are silent for longer than a peer waits. Where the tiers hold half of it, and where
 * time or a mishap is the matter, they are the ranks of one job, which share each epoch: what nobody holds is then needed once.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { randomBytes } from "../../test/support/datasets/index.js";
import { type Origin, type Shape, startOrigin } from "../../test/support/origin/index.js";
import type { Mishap } from "../../test/support/peers/process-cluster.js";
import { type ShardSet, uploadShards } from "../lib/origin-shards.js";
import type { Bar, Figures, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { ClusterParameters } from "../subject/cluster.js";

const BUCKET = "bench";
const FIRST_BYTE_MS = 20;
const SAMPLE_BYTES = 110_000;

interface Size extends ShardSet {
  /** Divides the samples of every cluster's ranks. */
  readonly batchSize: number;
  /** Of the open windows of a node, and of its read-ahead, bytes; undefined: the defaults. */
  readonly ahead: number | undefined;
  readonly aheadOfMishap: number | undefined;
  /** Of the steps of a cluster that meets with a mishap, of one that is restarted, milliseconds. */
  readonly computeMs: number;
  readonly restartComputeMs: number;
}
/** 92 groups of 8 MiB: with fewer, some of 8 nodes own half as much again as others. Windows are parts of the data, or they would be a second cache. */
const FULL: Size = {
  shards: 4,
  samplesPerShard: 1728,
  sampleBytes: SAMPLE_BYTES,
  batchSize: 32,
  ahead: 16 * 2 ** 20,
  aheadOfMishap: 4 * 2 ** 20,
  computeMs: 300,
  restartComputeMs: 900,
};
const SMOKE: Size = {
  shards: 2,
  samplesPerShard: 128,
  sampleBytes: SAMPLE_BYTES,
  batchSize: 16,
  ahead: undefined,
  aheadOfMishap: undefined,
  computeMs: 100,
  restartComputeMs: 600,
};

/** Where the nodes hold everything together, with room for some owning more than others; and where they hold half of it. */
const PLENTY = 1.5;
const HALF = 0.5;
const NODES = 4;
/** Of a step of each node, for each node that there is, milliseconds. */
const PACE_MS = 20;
/** The origin's bandwidth ÷ what the ranks ask of it. */
const CAP_OF_DEMAND = 1 / 4;
/** Of the emulated step of a rank, milliseconds: four of them demand 80 MB/s. */
const CAPPED_COMPUTE_MS = 176;
const BYTES_PER_SECOND = (NODES * FULL.batchSize * SAMPLE_BYTES) / (CAPPED_COMPUTE_MS / 1000);

const [FIRST, SECOND] = ["epoch 1", "epoch 2"] as const;
const SHARED = "4 ranks, origin capped";
const UNCACHED = "4 ranks, origin capped, no cache";
const RESTARTED = "all 4 restarted in turn";
const LISTS = "4 nodes, two lists";
const MISHAPS: Readonly<Record<Exclude<Mishap, "restart">, string>> = {
  kill: "one of 4 killed",
  freeze: "one of 4 frozen",
  corrupt: "one of 4 corrupt",
};
const counted = (nodes: number): string => `${nodes} nodes, k·f = ${PLENTY}`;
const halved = (nodes: number): string => `${nodes} ranks, k·f = ${HALF}`;

interface Plan extends Pick<ClusterParameters, "computeMs" | "epochs" | "mishap"> {
  readonly name: string;
  readonly nodes: number;
  readonly reading: "ranks" | "everything";
  /** What all memory tiers hold together ÷ the dataset. */
  readonly share: number;
  readonly peers?: boolean;
  readonly lists?: readonly (readonly number[])[];
  readonly capped?: boolean;
  readonly rounds?: number;
}

function plans({ smoke, long }: PrepareOptions, size: Size): Plan[] {
  const [first, later] = [[FIRST, SECOND], long ? [FIRST, SECOND, "epoch 3"] : [FIRST, SECOND]];
  const job = { nodes: NODES, reading: "everything", share: PLENTY, computeMs: size.computeMs } as const;
  const counts = (smoke ? [2] : [2, NODES, 8]).map(
    (nodes): Plan => ({
      ...job,
      name: counted(nodes),
      nodes,
      computeMs: PACE_MS * nodes,
      epochs: first,
      ...(nodes > NODES && { rounds: 1 }),
    }),
  );
  const half = (smoke ? [] : long ? [2, NODES, 8] : [NODES]).map(
    (nodes): Plan => ({ ...job, name: halved(nodes), nodes, reading: "ranks" as const, share: HALF, computeMs: 0, epochs: later }),
  );
  const ranks = { ...job, reading: "ranks" } as const;
  const capped = { ...ranks, computeMs: CAPPED_COMPUTE_MS, capped: true, rounds: 1 };
  const times: Plan[] = [
    { ...capped, name: SHARED, epochs: first },
    { ...capped, name: UNCACHED, share: 0, peers: false, epochs: ["", SECOND] },
  ];
  const all = Object.entries(MISHAPS).map(([mishap, name]): Plan => ({ ...ranks, name, epochs: first, mishap: mishap as Mishap }));
  const mishaps = smoke
    ? all.slice(0, 1)
    : [...all, { ...ranks, name: RESTARTED, computeMs: size.restartComputeMs, epochs: first, mishap: "restart" as const, rounds: 1 }];
  return [
    ...counts,
    ...half,
    ...(smoke ? [] : times),
    ...mishaps,
    {
      ...job,
      name: LISTS,
      epochs: first,
      // Two groups of nodes that each know one of the other.
      lists: [
        [0, 1, 2],
        [0, 1, 2],
        [1, 2, 3],
        [1, 2, 3],
      ],
    },
  ];
}

interface Data {
  readonly origin: Origin;
  readonly checksums: string;
  readonly samples: number;
  readonly bytes: number;
}

function subjectOf(plan: Plan, { origin, checksums, samples, bytes }: Data, { smoke }: PrepareOptions, size: Size): Subject {
  const { name, nodes, reading, share, lists, peers = true, computeMs, epochs, mishap, rounds } = plan;
  const { endpoint, controlUrl, credentials, region } = origin;
  // What is fetched already when a node fails would hide it.
  const ahead = mishap === undefined ? size.ahead : size.aheadOfMishap;
  const loader = {
    batchSize: size.batchSize,
    shuffle: { seed: 1, ...(ahead !== undefined && { window: ahead }) },
    ...(ahead !== undefined && { readAhead: ahead }),
  };
  const parameters: ClusterParameters = {
    // The few groups of smoke mode may all be one node's.
    cluster: {
      source: `s3://${BUCKET}/data`,
      checksums,
      nodes,
      reading,
      memory: smoke ? 2 * bytes : Math.floor((bytes * share) / nodes),
      loader,
      peers,
      liar: mishap === "corrupt",
      lists,
    },
    origin: { endpoint, controlUrl, credentials, region },
    samples,
    bytes,
    computeMs,
    fillComputeMs: 0,
    epochs,
    mishap,
  };
  const second: Figures = {
    ...(mishap === "restart" && { stopped: nodes }),
    ...(smoke && reading === "everything" && lists === undefined && { originShare: 0 }),
  };
  return {
    name,
    script: new URL("../subject/cluster.ts", import.meta.url),
    parameters: { ...parameters },
    expected: { wrong: 0, missing: 0, twice: 0 },
    expectedIn: { [SECOND]: second },
    rounds,
  };
}

async function prepareIn(folder: string, options: PrepareOptions): Promise<PreparedScenario> {
  const size = options.smoke ? SMOKE : FULL;
  const origin = await startOrigin({ buckets: [BUCKET] });
  try {
    const { shards } = await uploadShards(origin, BUCKET, "data", size);
    const samples = size.shards * size.samplesPerShard;
    const checksums = join(folder, "checksums");
    await writeFile(
      checksums,
      Uint32Array.from({ length: samples }, (_, i) => crc32c(randomBytes(SAMPLE_BYTES, i))),
    );
    const data = { origin, checksums, samples, bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0) };
    const all = plans(options, size);
    const shapeOf = ({ name }: Subject): Shape => {
      if (options.smoke) return {};
      const capped = all.find((plan) => plan.name === name)?.capped === true;
      return { firstByteMs: FIRST_BYTE_MS, ...(capped && { totalBytesPerSecond: BYTES_PER_SECOND * CAP_OF_DEMAND }) };
    };
    return {
      subjects: all.map((plan) => subjectOf(plan, data, options, size)),
      reset: (subject) => origin.shape(shapeOf(subject)),
      close: () => origin.close(),
    };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

async function prepare(options: PrepareOptions): Promise<PreparedScenario> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-cluster-"));
  const removeFolder = () => rm(folder, { recursive: true, force: true });
  try {
    const prepared = await prepareIn(folder, options);
    const close = async () => {
      await prepared.close();
      await removeFolder();
    };
    return { ...prepared, close };
  } catch (error) {
    await removeFolder();
    throw error;
  }
}

const SENT = "originShare";
const countBars = (nodes: number): Bar[] => [
  { name: `${counted(nodes)}, epoch 1: origin bytes ÷ dataset`, atMost: 1.02, value: (of) => of(counted(nodes), FIRST, SENT) },
  { name: `${counted(nodes)}, epoch 2: origin bytes ÷ dataset`, atMost: 0, value: (of) => of(counted(nodes), SECOND, SENT) },
];
const mishapBars = (name: string): Bar[] => [
  { name: `${name}: extra origin bytes ÷ its share`, atMost: 1, value: (of) => of(name, SECOND, SENT) / of(name, SECOND, "ownedShare") },
  { name: `${name}: longest batch wait, ms`, atMost: 2000, value: (of) => of(name, SECOND, "longestWaitMs") },
];

export const scenario: Scenario = {
  name: "cluster",
  title: "Nodes with one cache, processes on loopback: 6,912 samples of 110 KB in 4 shards of 190 MB, 20 ms to the first byte",
  rounds: 2,
  byNameOnly: true,
  columns: [
    { figure: SENT, title: "origin bytes ÷ dataset", digits: 3, chart: true },
    { figure: "originRequests", title: "origin requests", digits: 0 },
    { figure: "wallSeconds", title: "s", digits: 1 },
    { figure: "longestWaitMs", title: "longest wait, ms", digits: 0 },
    { figure: "ownedShare", title: "its share", digits: 3 },
    { figure: "cpuSeconds", title: "CPU s of all nodes", digits: 1 },
  ],
  bars: [
    ...[2, NODES, 8].flatMap(countBars),
    {
      name: `${halved(NODES)}, epoch 2: origin bytes ÷ dataset`,
      atMost: 1 - HALF + 0.04,
      value: (of) => of(halved(NODES), SECOND, SENT),
    },
    {
      name: `origin capped at ${CAP_OF_DEMAND} of the demand, epoch 2: time ÷ that without a cache`,
      atMost: 0.3,
      value: (of) => of(SHARED, SECOND, "wallSeconds") / of(UNCACHED, SECOND, "wallSeconds"),
    },
    ...Object.values(MISHAPS).flatMap(mishapBars),
    { name: `${RESTARTED}: longest batch wait, ms`, atMost: 2000, value: (of) => of(RESTARTED, SECOND, "longestWaitMs") },
    { name: `${LISTS}: origin bytes ÷ dataset (nodes without peers: ${NODES})`, atMost: NODES, value: (of) => of(LISTS, FIRST, SENT) },
  ],
  prepare,
};
