import { MillraceError } from "../errors.js";
import { formatBytes } from "../util/byte-size.js";
import { type Chunks, raggedChunks, uniformChunks } from "./chunks.js";
import { turnoverShare } from "./stagger.js";

/** What the order needs to know of the rows a loader goes through. */
export interface OrderFacts {
  readonly sampleCount: number;
  /** Bytes of all samples; of compressed shards, inflated. */
  readonly byteLength: number;
  /** Bytes of the largest sample. */
  readonly maxSampleBytes: number;
  /** Where shards can only be read whole (compressed ones): the first sample of each, and the sample count at the end. */
  readonly raggedStarts?: Float64Array | undefined;
  /** Bytes of the largest of those shards, inflated. */
  readonly raggedMaxBytes?: number | undefined;
}
export interface OrderShuffle {
  readonly seed: number;
  readonly mode: "window" | "global";
  /** Budget of all windows together. */
  readonly windowBytes: number;
}
export interface OrderOptions {
  readonly shuffle: false | OrderShuffle;
  readonly lanes: number;
}

/** Everything that an epoch's order depends on, beside the epoch's number. */
export interface OrderSpec {
  readonly mode: "window" | "global" | "sequential";
  readonly seed: number;
  readonly lanes: number;
  readonly chunks: Chunks;
  /** Chunks of a window; in mode "global", samples. */
  readonly windowChunks: number;
  /** Names the order: equal ids give equal orders of the same samples. */
  readonly id: string;
  /** Bytes of all open windows together. */
  readonly windowBytes: number;
  /** How much more must be held for the loop never to wait when lanes change windows, as a part of `windowBytes`: mostly below 0.25. */
  readonly turnover: number;
}

/**
 * About a span: the longest ranged GET that still fills a connection. Of 8 MiB, chunks of three quarters of it and the cuts at shard edges took
 * 134 requests a GB of shards of 256 MB. Two chunks of 10 MiB in each of 24 lanes still fit into the default window.
 */
const TARGET_CHUNK_BYTES = 10 * 2 ** 20;
const MIN_LANE_CHUNKS = 16; // fewer chunks a lane, and lanes hold neighbours only
const MAX_OPEN_CHUNKS = 384; // 16 a lane of 24: batches of class-sorted data then come near to random draws (docs/semantics.md)
const GLOBAL_WINDOW_SAMPLES = 256;

/**
 * Chooses chunk size, window and lanes from what the manifest and the options say, and from nothing else: every process comes to
 * the same. Throws MILLRACE_CONFIG where the windows cannot fit their budget, with the bytes they need.
 */
export function chooseOrder(facts: OrderFacts, options: OrderOptions): OrderSpec {
  if (options.shuffle === false) return sequentialOrder(facts);
  if (!Number.isSafeInteger(options.shuffle.seed))
    throw new MillraceError("MILLRACE_CONFIG", `shuffle.seed: expected a whole number, got ${options.shuffle.seed}`);
  if (options.shuffle.mode === "global") return globalOrder(facts, options.shuffle);
  if (!Number.isSafeInteger(options.lanes) || options.lanes < 1)
    throw new MillraceError("MILLRACE_CONFIG", `lanes: expected a whole number from 1, got ${options.lanes}`);
  return facts.raggedStarts === undefined
    ? windowOrder(facts, options.shuffle, options.lanes)
    : raggedOrder(facts, options.shuffle, options.lanes);
}

function meanBytes(facts: OrderFacts): number {
  return Math.max(1, facts.byteLength / Math.max(1, facts.sampleCount));
}

function sequentialOrder(facts: OrderFacts): OrderSpec {
  const size = Math.max(1, Math.floor(TARGET_CHUNK_BYTES / meanBytes(facts)));
  return {
    mode: "sequential",
    seed: 0,
    lanes: 1,
    chunks: facts.raggedStarts === undefined ? uniformChunks(facts.sampleCount, size) : raggedChunks(facts.raggedStarts),
    windowChunks: 1,
    id: "sequential",
    windowBytes: facts.raggedMaxBytes ?? Math.min(facts.byteLength, size * meanBytes(facts) + facts.maxSampleBytes),
    turnover: 1,
  };
}

function globalOrder(facts: OrderFacts, shuffle: OrderShuffle): OrderSpec {
  // A sample of a compressed shard costs the whole shard: only a dataset that is held whole can be read at random.
  const need = facts.raggedStarts === undefined ? facts.maxSampleBytes : facts.byteLength;
  if (need > shuffle.windowBytes)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      facts.raggedStarts === undefined
        ? `shuffle.window: one sample takes ${formatBytes(need)}, the budget is ${formatBytes(shuffle.windowBytes)}; raise it`
        : `shuffle.mode: "global" over compressed shards holds all of them, ${formatBytes(need)}; raise shuffle.window to that or use mode "window"`,
    );
  const samples = Math.max(1, Math.min(GLOBAL_WINDOW_SAMPLES, Math.floor(shuffle.windowBytes / Math.max(1, facts.maxSampleBytes))));
  const windowBytes = Math.min(facts.byteLength, (samples - 1) * meanBytes(facts) + facts.maxSampleBytes);
  return {
    mode: "global",
    seed: shuffle.seed,
    lanes: 1,
    chunks: uniformChunks(facts.sampleCount, 1),
    windowChunks: samples,
    id: `global seed=${shuffle.seed}`,
    windowBytes: facts.raggedStarts === undefined ? windowBytes : need,
    turnover: facts.raggedStarts === undefined ? 1 : 0,
  };
}

function windowOrder(facts: OrderFacts, shuffle: OrderShuffle, lanes: number): OrderSpec {
  const { sampleCount, maxSampleBytes } = facts;
  const open = Math.max(1, Math.min(lanes, sampleCount));
  const mean = meanBytes(facts);
  if (open * maxSampleBytes > shuffle.windowBytes) throw windowTooSmall(open, "sample", maxSampleBytes, shuffle.windowBytes);
  /** Samples a lane may have open. */
  const room = Math.max(1, Math.floor(samplesIn(shuffle.windowBytes, facts) / open));
  const wanted = Math.min(TARGET_CHUNK_BYTES / mean, sampleCount / (MIN_LANE_CHUNKS * open), room / 2);
  const largest = Math.max(1, Math.floor(wanted));
  const windowChunks = Math.max(1, Math.floor(Math.min(MAX_OPEN_CHUNKS / open, room / largest)));
  const chunkSamples = evenestChunk(sampleCount, open, largest, windowChunks);
  const windowBytes = bytesOf(Math.min(sampleCount, open * windowChunks * chunkSamples), facts);
  return {
    mode: "window",
    seed: shuffle.seed,
    lanes,
    chunks: uniformChunks(sampleCount, chunkSamples),
    windowChunks,
    id: `window seed=${shuffle.seed} lanes=${lanes} chunk=${chunkSamples} window=${windowChunks}`,
    windowBytes,
    turnover: turnoverShare(sampleCount, open, chunkSamples, windowChunks),
  };
}

/**
 * Bytes of so many samples drawn at random: their mean and two standard deviations. The variance is the largest that sizes of this
 * mean and maximum can have, mean × (max − mean) (Bhatia and Davis, 2000), so that samples of one size have none.
 */
function bytesOf(samples: number, facts: OrderFacts): number {
  const mean = meanBytes(facts);
  const deviation = Math.sqrt(mean * Math.max(0, facts.maxSampleBytes - mean));
  return Math.ceil(Math.min(facts.byteLength, samples * facts.maxSampleBytes, samples * mean + 2 * Math.sqrt(samples) * deviation));
}

/** The samples that `bytesOf` says fit a budget: its inverse. */
function samplesIn(budget: number, facts: OrderFacts): number {
  const mean = meanBytes(facts);
  const deviation = Math.sqrt(mean * Math.max(0, facts.maxSampleBytes - mean));
  return ((Math.sqrt(deviation ** 2 + mean * budget) - deviation) / mean) ** 2;
}

const CHUNK_CANDIDATES = 64; // enough to meet an even spacing; bounds the search where samples are tiny

/** Of the chunk sizes down to four fifths of the largest allowed, the one with which lanes change windows most evenly. */
function evenestChunk(sampleCount: number, lanes: number, largest: number, windowChunks: number): number {
  let best = largest;
  let least = turnoverShare(sampleCount, lanes, largest, windowChunks);
  const smallest = Math.max(Math.ceil(largest * 0.8), largest - CHUNK_CANDIDATES);
  for (let size = largest - 1; size >= smallest; size--) {
    const share = turnoverShare(sampleCount, lanes, size, windowChunks);
    if (share < least - 1e-6) [best, least] = [size, share]; // a rounding error is no reason for smaller chunks
  }
  return best;
}

function raggedOrder(facts: OrderFacts, shuffle: OrderShuffle, lanes: number): OrderSpec {
  const chunks = raggedChunks(facts.raggedStarts!);
  const chunkBytes = Math.max(1, facts.raggedMaxBytes ?? facts.byteLength);
  const open = Math.max(1, Math.min(lanes, chunks.count)); // lanes that share a shard hold it once
  if (open * chunkBytes > shuffle.windowBytes) throw windowTooSmall(open, "compressed shard", chunkBytes, shuffle.windowBytes);
  const windowChunks = Math.max(1, Math.floor(Math.min(MAX_OPEN_CHUNKS, shuffle.windowBytes / chunkBytes) / open));
  return {
    mode: "window",
    seed: shuffle.seed,
    lanes,
    chunks,
    windowChunks,
    id: `window seed=${shuffle.seed} lanes=${lanes} chunk=shard window=${windowChunks}`,
    windowBytes: Math.min(facts.byteLength, open * windowChunks * chunkBytes),
    turnover: turnoverShare(facts.sampleCount, open, Math.max(1, facts.sampleCount / chunks.count), windowChunks), // as if shards were equal
  };
}

function windowTooSmall(lanes: number, what: string, bytes: number, budget: number): MillraceError {
  return new MillraceError(
    "MILLRACE_CONFIG",
    `shuffle.window: ${lanes} lanes of one ${formatBytes(bytes)} ${what} each need ${formatBytes(lanes * bytes)}, the budget is ${formatBytes(budget)}; raise it or lower lanes`,
  );
}
