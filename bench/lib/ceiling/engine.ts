/** The thread that does a ceiling's work: reads ranges, checks what the format demands, copies samples to batches and posts them. */
import { type MessagePort, workerData } from "node:worker_threads";
import type { CeilingParameters, CeilingPhase, CeilingSource } from "../../subject/ceiling.js";
import { type Read, Tally } from "../subject.js";
import { Batches, bareTally, PieceChecksums } from "./batches.js";
import { FileSource } from "./file-source.js";
import { layoutOf, type RecordRange, recordRanges } from "./layout.js";
import { SocketSource } from "./socket-source.js";
import { type RangeSource, readRanges } from "./source.js";
import { ThreadedSource } from "./threaded-source.js";
import { UndiciSource } from "./undici-source.js";

export interface CeilingRequest {
  readonly given: CeilingParameters;
  readonly phase: CeilingPhase;
  readonly port: MessagePort;
}
/** A batch, or the end of a pass; `read`: what it has read, where it sent no batches. The loop answers with "pass", or a batch's memory. */
export type FromEngine = { readonly batch: ArrayBuffer; readonly rows: number } | { readonly read: Read | undefined };

/** As long as Millrace's longest chunks. */
const RANGE_BYTES = 8 * 2 ** 20;
const IN_FLIGHT = 8;
/** What a disk tier has a checksum for: Millrace's block. */
const DISK_PIECE_BYTES = 2 ** 20;

const { given, phase, port } = workerData as CeilingRequest;
const layout = layoutOf(given.format, given.sampleBytes);
const ranges = recordRanges(given.shards, layout, RANGE_BYTES);
const longest = Math.max(...ranges.map(({ bytes }) => bytes));
const places = phase.source === "file" || phase.work === "bare" ? IN_FLIGHT : Math.floor(given.cacheBytes / longest);
// Touched before any clock starts.
const slots = Array.from({ length: Math.min(ranges.length, Math.max(IN_FLIGHT, places)) }, () =>
  Buffer.from(new SharedArrayBuffer(longest)).fill(1),
);
const pieces = phase.source === "file" ? new PieceChecksums(DISK_PIECE_BYTES) : undefined;
const source = phase.source === "memory" ? undefined : open(phase.source);
const batches = new Batches(layout, given.batchSize, phase.memory, port);
if (source === undefined) await fill(slots);

port.on("message", async (message: "pass" | ArrayBuffer) => {
  if (message === "pass") port.postMessage({ read: await pass() } satisfies FromEngine);
  else batches.giveBack(message);
});

function open(from: Exclude<CeilingSource, "memory">): RangeSource {
  if (from === "undici") return new UndiciSource(given.endpoint, IN_FLIGHT);
  if (from === "threaded") return new ThreadedSource(given.endpoint, slots);
  return from === "socket" ? new SocketSource(given.endpoint) : new FileSource(given.root);
}

async function pass(): Promise<Read | undefined> {
  const bare = new Tally();
  const take = (bytes: Buffer, range: RecordRange) => {
    pieces?.check(range, bytes);
    if (phase.work === "bare") bareTally(bytes, range.records, layout, bare);
    else batches.take(bytes, range.records);
  };
  if (source !== undefined) await readRanges(source, ranges, slots, IN_FLIGHT, take);
  else for (const [number, range] of ranges.entries()) take(slots[number]!.subarray(0, range.bytes), range);
  batches.end();
  return phase.work === "bare" ? bare : undefined;
}

async function fill(places: readonly Buffer[]): Promise<void> {
  const files = new FileSource(given.root);
  for (const [number, range] of ranges.entries()) await files.read(range, places[number]!);
  await files.close();
}
