/** What the epoch scenarios share: the size of the data, and how their subjects are told of it. */

import { parseBytes } from "../../src/util/byte-size.js";
import type { CeilingParameters } from "../subject/ceiling.js";
import type { MillraceParameters } from "../subject/millrace.js";
import { bracePattern, readOf, SAMPLE_BYTES, type Shard, type ShardFormat } from "./data.js";
import type { Nginx } from "./nginx.js";
import type { Figures, Subject } from "./scenario.js";

export const BATCH_SIZE = 64;
/** 256 MB of records of 110 KB. */
const LARGE_SHARD = 2327;
export interface EpochSize {
  readonly samples: number;
  readonly samplesPerShard: number;
  /** Over the data, a phase: one lasts a third of a second. */
  readonly passes: number;
}
export const FULL: EpochSize = { samples: 4096, samplesPerShard: LARGE_SHARD, passes: 6 };
export const SMOKE: EpochSize = { samples: 192, samplesPerShard: 128, passes: 1 };

/** One data set on the server. */
export interface EpochData {
  readonly root: string;
  readonly folder: string;
  readonly format: ShardFormat;
  readonly shards: readonly Shard[];
  readonly passes: number;
}

const script = (name: string) => new URL(`../subject/${name}.ts`, import.meta.url);
const environment = ({ caFile }: Nginx) => (caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: caFile });

/** The memory tier, of Millrace and of ceilings: by default all data fits. */
export const MEMORY: string = "3GiB";

export function ceilingSubject(
  name: string,
  nginx: Nginx,
  data: EpochData,
  phases: CeilingParameters["phases"],
  memory: string = MEMORY,
): Subject {
  const { root, format, shards, passes } = data;
  const parameters: CeilingParameters = {
    endpoint: nginx.endpoint,
    root,
    format,
    shards,
    sampleBytes: SAMPLE_BYTES,
    batchSize: BATCH_SIZE,
    cacheBytes: parseBytes(memory, "memory"),
    passes,
    phases,
  };
  return { name, script: script("ceiling"), parameters: { ...parameters }, expected: { ...readOf(shards) }, env: environment(nginx) };
}

type Chosen = Pick<MillraceParameters, "memory" | "phases"> & Partial<MillraceParameters>;

export function millraceSubject(name: string, nginx: Nginx, data: EpochData, chosen: Chosen): Subject {
  const { folder, format, shards, passes } = data;
  const parameters: MillraceParameters = {
    source: bracePattern(nginx.endpoint, folder, format, shards.length),
    field: format === "tfrecord" ? "record" : "bin",
    batchSize: BATCH_SIZE,
    statusUrl: nginx.statusUrl,
    passes,
    ...chosen,
  };
  // What a tier has is not asked for again.
  const none: Figures = { requests: 0 };
  const expectedIn = Object.fromEntries(chosen.phases.filter((phase) => phase !== "cold").map((phase) => [phase, none]));
  return {
    name,
    script: script("millrace"),
    parameters: { ...parameters },
    expected: { ...readOf(shards) },
    expectedIn,
    env: environment(nginx),
  };
}
