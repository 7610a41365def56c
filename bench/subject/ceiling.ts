/**
 * The ceilings: what cannot be left out, written by hand for this one case. They know the shards' sizes and the samples' length
 * beforehand, read in order, and have neither cache, order, retry nor cancel. Which one is measured, and in which phases, the parameters say.
 */
import { Batches, type BatchMemory, bareTally, PieceChecksums } from "../lib/ceiling/batches.js";
import { FileSource } from "../lib/ceiling/file-source.js";
import { layoutOf, type RecordRange, recordRanges } from "../lib/ceiling/layout.js";
import { SocketSource } from "../lib/ceiling/socket-source.js";
import { type RangeSource, readRanges } from "../lib/ceiling/source.js";
import { ThreadedSource } from "../lib/ceiling/threaded-source.js";
import { UndiciSource } from "../lib/ceiling/undici-source.js";
import type { Shard, ShardFormat } from "../lib/data.js";
import type { Figures } from "../lib/scenario.js";
import { measurePasses, parameters, type Read, report, Tally } from "../lib/subject.js";

/** `bare`: no checksums and no copy. `memory`: no reading; all data lies there. */
export type CeilingSource = "socket" | "threaded" | "undici" | "file" | "memory";
export interface CeilingParameters {
  readonly endpoint: string;
  /** Where the server has its files. */
  readonly root: string;
  readonly format: ShardFormat;
  readonly shards: readonly Shard[];
  readonly sampleBytes: number;
  readonly batchSize: number;
  readonly passes: number;
  readonly phases: readonly {
    readonly name: string;
    readonly source: CeilingSource;
    readonly work: "bare" | "batches";
    readonly memory: BatchMemory;
  }[];
}

/** As long as Millrace's longest chunks. */
const RANGE_BYTES = 8 * 2 ** 20;
const IN_FLIGHT = 8;
/** What a disk tier has a checksum for: Millrace's block. */
const DISK_PIECE_BYTES = 2 ** 20;

const given = parameters<CeilingParameters>();
const layout = layoutOf(given.format, given.sampleBytes);
const ranges = recordRanges(given.shards, layout, RANGE_BYTES);
const longest = Math.max(...ranges.map(({ bytes }) => bytes));
const slots = Array.from({ length: IN_FLIGHT }, () => Buffer.from(new SharedArrayBuffer(longest)).fill(1));

function open(source: CeilingSource): RangeSource {
  if (source === "undici") return new UndiciSource(given.endpoint, IN_FLIGHT);
  if (source === "threaded") return new ThreadedSource(given.endpoint, slots);
  return source === "socket" ? new SocketSource(given.endpoint) : new FileSource(given.root);
}

async function measurePhase({ source: from, work, memory }: CeilingParameters["phases"][number]): Promise<Figures> {
  const pieces = from === "file" ? new PieceChecksums(DISK_PIECE_BYTES) : undefined;
  const source = open(from);
  const held = from === "memory" ? await readWhole(source) : undefined;
  const pass = async (): Promise<Read> => {
    const batches = new Batches(layout, given.batchSize, memory);
    const bare = new Tally();
    const take = (bytes: Buffer, range: RecordRange) => {
      pieces?.check(range, bytes);
      if (work === "bare") bareTally(bytes, range.records, layout, bare);
      else batches.take(bytes, range.records);
    };
    if (held === undefined) await readRanges(source, ranges, slots, take);
    else for (const [range, bytes] of held) take(bytes, range);
    return work === "bare" ? bare : batches.tally;
  };
  await pass();
  const figures = await measurePasses(given.passes, pass);
  await source.close();
  return figures;
}

async function readWhole(source: RangeSource): Promise<Map<RecordRange, Buffer>> {
  const held = new Map<RecordRange, Buffer>();
  for (const range of ranges) {
    const bytes = Buffer.from(new SharedArrayBuffer(range.bytes));
    await source.read(range, bytes);
    held.set(range, bytes);
  }
  return held;
}

const phases: Record<string, Figures> = {};
for (const phase of given.phases) phases[phase.name] = await measurePhase(phase);
report(phases);
