/** Every figure that `mill.stats()` shows: its name, its unit and what it means, in one place. docs/metrics.md is held against this table by a test. */
import type { MillStats } from "./api.js";

export interface Metric {
  readonly group: "origin" | "memory" | "disk" | "cache" | "metadata" | "files" | "saves" | "peers";
  readonly name: string;
  readonly unit: "bytes" | "requests" | "blocks" | "count";
  readonly meaning: string;
}

export const METRICS: readonly Metric[] = [
  { group: "origin", name: "requests", unit: "requests", meaning: "Ranged GETs sent to stores, every try counted" },
  { group: "origin", name: "bytes", unit: "bytes", meaning: "Bytes that arrived from stores, those of failed tries too" },
  { group: "origin", name: "lists", unit: "requests", meaning: "Listings asked of stores; one may take several pages" },
  { group: "origin", name: "stats", unit: "requests", meaning: "Objects looked up at stores (HEAD)" },
  { group: "origin", name: "writes", unit: "requests", meaning: "Objects written to stores" },
  { group: "origin", name: "retries", unit: "requests", meaning: "Requests sent again after a failure that another try may mend" },
  { group: "origin", name: "hedges", unit: "requests", meaning: "Ranged GETs sent a second time because the first byte was late" },
  { group: "origin", name: "hedgeWins", unit: "requests", meaning: "Of these, those that were answered before the first" },
  {
    group: "origin",
    name: "errors",
    unit: "requests",
    meaning: "Calls of stores that failed, those retried, aborted and outrun by a hedge included",
  },
  { group: "origin", name: "inFlight", unit: "requests", meaning: "Requests under way now" },
  { group: "origin", name: "queued", unit: "requests", meaning: "Requests that wait for the limits now" },
  {
    group: "origin",
    name: "concurrency",
    unit: "requests",
    meaning: "Requests that may be under way now to the origins in use, as found by measuring them",
  },
  {
    group: "origin",
    name: "slowDowns",
    unit: "requests",
    meaning: "Answers that asked for fewer requests (429, 503, SlowDown, Throttling, or another that says Retry-After)",
  },
  { group: "memory", name: "hits", unit: "blocks", meaning: "Blocks found in the memory tier" },
  { group: "memory", name: "bytes", unit: "bytes", meaning: "Bytes served from the memory tier" },
  { group: "memory", name: "heldBytes", unit: "bytes", meaning: "Data in the memory tier now" },
  {
    group: "memory",
    name: "chargedBytes",
    unit: "bytes",
    meaning: "Capacity taken now: data, rounding to 16 KiB, and room promised to blocks on their way",
  },
  { group: "memory", name: "capacityBytes", unit: "bytes", meaning: "cache.memory" },
  { group: "memory", name: "evictions", unit: "blocks", meaning: "Blocks that left memory to make room" },
  { group: "memory", name: "segmentBytes", unit: "bytes", meaning: "Memory taken from the system for blocks, kept until close" },
  { group: "memory", name: "workingBytes", unit: "bytes", meaning: "Blocks that are leased or being filled and that no tier holds, now" },
  { group: "memory", name: "workingPeakBytes", unit: "bytes", meaning: "Largest workingBytes so far" },
  { group: "memory", name: "wasteBytes", unit: "bytes", meaning: "Lost to rounding in the slots taken now" },
  { group: "disk", name: "hits", unit: "blocks", meaning: "Blocks served from the disk tier" },
  { group: "disk", name: "bytes", unit: "bytes", meaning: "Bytes served from the disk tier" },
  { group: "disk", name: "heldBytes", unit: "bytes", meaning: "Data on disk, or queued to it, now" },
  {
    group: "disk",
    name: "chargedBytes",
    unit: "bytes",
    meaning: "Capacity taken now: data, headers, rounding and inodes, of blocks and of metadata",
  },
  { group: "disk", name: "capacityBytes", unit: "bytes", meaning: "Sum of cache.disk[].capacity" },
  { group: "disk", name: "queuedBytes", unit: "bytes", meaning: "Waiting to be written now" },
  { group: "disk", name: "writes", unit: "blocks", meaning: "Blocks written" },
  { group: "disk", name: "failedWrites", unit: "blocks", meaning: "Blocks that had room but could not be written" },
  { group: "disk", name: "evictions", unit: "blocks", meaning: "Blocks removed to make room" },
  {
    group: "disk",
    name: "checksumMisses",
    unit: "blocks",
    meaning: "Blocks whose checksum, length or identity was wrong: removed, and fetched again",
  },
  { group: "disk", name: "disabledDirectories", unit: "count", meaning: "Directories given up after errors; the log says why" },
  { group: "disk", name: "processes", unit: "count", meaning: "Processes that use the first cache directory now, this one included" },
  { group: "disk", name: "claimTakeovers", unit: "count", meaning: "Fetches taken over from a process that died or stood still" },
  { group: "cache", name: "misses", unit: "blocks", meaning: "Blocks that had to come from the origin" },
  { group: "cache", name: "originBytes", unit: "bytes", meaning: "Bytes served from the origin" },
  { group: "cache", name: "fetchedBytes", unit: "bytes", meaning: "Bytes that origin reads brought: whole blocks where they are held" },
  { group: "cache", name: "admittedBytes", unit: "bytes", meaning: "Data held in any tier now, each block once" },
  { group: "cache", name: "joined", unit: "blocks", meaning: "Blocks that were waited for on another caller's fetch" },
  { group: "cache", name: "streamed", unit: "blocks", meaning: "Blocks that found no room and were not held" },
  { group: "cache", name: "abandoned", unit: "requests", meaning: "Fetches given up because the last who waited had left" },
  { group: "metadata", name: "statHits", unit: "count", meaning: "Object facts answered from memory" },
  { group: "metadata", name: "statRequests", unit: "requests", meaning: "Object facts asked of origins" },
  { group: "metadata", name: "negativeHits", unit: "count", meaning: "Objects known not to exist" },
  { group: "metadata", name: "listHits", unit: "count", meaning: "Listings answered from memory" },
  { group: "metadata", name: "listRequests", unit: "requests", meaning: "Listings asked of origins" },
  { group: "metadata", name: "indexHits", unit: "count", meaning: "Record indexes found in memory or on disk" },
  { group: "metadata", name: "indexMisses", unit: "count", meaning: "Record indexes that had to be built" },
  { group: "metadata", name: "entries", unit: "count", meaning: "Entries in memory now" },
  { group: "metadata", name: "bytes", unit: "bytes", meaning: "Memory they take, roughly" },
  { group: "files", name: "reads", unit: "count", meaning: "Reads that have ended: of files, and of tensors that lie near each other" },
  { group: "files", name: "bytes", unit: "bytes", meaning: "Bytes that they brought" },
  { group: "files", name: "reading", unit: "count", meaning: "Such reads under way now" },
  { group: "saves", name: "through", unit: "count", meaning: "Checkpoints that were saved to their origin at once" },
  { group: "saves", name: "back", unit: "count", meaning: "Checkpoints that were saved to the disk, to be uploaded later" },
  {
    group: "saves",
    name: "noSpace",
    unit: "count",
    meaning: "Checkpoints that the disk could not take: they were saved to their origin at once",
  },
  { group: "saves", name: "pending", unit: "count", meaning: "Checkpoints that wait to be uploaded, or are being uploaded now" },
  { group: "saves", name: "pendingBytes", unit: "bytes", meaning: "On the disk for them, and for those that failed" },
  {
    group: "saves",
    name: "failed",
    unit: "count",
    meaning:
      "Checkpoints, those that earlier processes left included, that could not be uploaded and stay on the disk until they are tried again; the log says why",
  },
  {
    group: "saves",
    name: "uploaded",
    unit: "count",
    meaning: "Checkpoints that were uploaded from the disk, those of earlier processes too",
  },
  { group: "saves", name: "bytes", unit: "bytes", meaning: "Bytes of checkpoints that origins have taken" },
  { group: "saves", name: "removed", unit: "count", meaning: "Older checkpoints that `keep` had removed" },
  { group: "peers", name: "listening", unit: "count", meaning: "1 in the one process of a node that answers its peers, else 0" },
  { group: "peers", name: "members", unit: "count", meaning: "Nodes that share the cache now, this one included" },
  { group: "peers", name: "strangers", unit: "count", meaning: "Peers that were found and are not asked: the log says why" },
  { group: "peers", name: "broken", unit: "count", meaning: "Members that are left alone for a while, after failures" },
  { group: "peers", name: "requests", unit: "requests", meaning: "Requests for blocks sent to peers" },
  { group: "peers", name: "answered", unit: "requests", meaning: "Of these, those that brought their bytes" },
  { group: "peers", name: "blocks", unit: "blocks", meaning: "Blocks, or parts of blocks, that they brought" },
  { group: "peers", name: "bytes", unit: "bytes", meaning: "Bytes of these" },
  {
    group: "peers",
    name: "corruptBlocks",
    unit: "blocks",
    meaning: "Blocks whose checksum was wrong: not used, and their peer is distrusted",
  },
  { group: "peers", name: "fallbacksUnreachable", unit: "count", meaning: "Owners passed over: no connection, or it broke" },
  { group: "peers", name: "fallbacksSlow", unit: "count", meaning: "Owners passed over: no sign of life in time" },
  { group: "peers", name: "fallbacksBusy", unit: "count", meaning: "Owners passed over: they said that they are busy" },
  { group: "peers", name: "fallbacksCorrupt", unit: "count", meaning: "Owners passed over: a wrong checksum, or no valid answer" },
  {
    group: "peers",
    name: "fallbacksRefused",
    unit: "count",
    meaning: "Owners passed over: another secret, or a mount that they do not have",
  },
  { group: "peers", name: "fallbacksFailed", unit: "count", meaning: "Owners passed over: they could not get the bytes themselves" },
  { group: "peers", name: "fallbacksOptions", unit: "count", meaning: "Owners passed over: another version, or other options" },
  { group: "peers", name: "fallbacksOpen", unit: "count", meaning: "Owners passed over unasked, because of an earlier one of these" },
  { group: "peers", name: "served", unit: "requests", meaning: "Requests of peers that were answered with all of their bytes" },
  { group: "peers", name: "servedBytes", unit: "bytes", meaning: "Bytes of these" },
  { group: "peers", name: "servedOriginBytes", unit: "bytes", meaning: "Bytes that had to be fetched from the origin for peers" },
  { group: "peers", name: "refused", unit: "requests", meaning: "Requests of peers that were refused" },
];

/** Figures by group and name, all numbers. */
export type Figures = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** The present figures, on memory that the engine's thread and the caller's share, so that `stats()` need not ask. */
export class StatsBoard {
  readonly buffer: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(METRICS.length * Float64Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer;
    this.#values = new Float64Array(buffer);
  }

  write(figures: Figures): void {
    METRICS.forEach(({ group, name }, i) => {
      this.#values[i] = figures[group]?.[name] ?? Number.NaN;
    });
  }

  read(): MillStats {
    const groups: Record<string, Record<string, number>> = {};
    METRICS.forEach(({ group, name }, i) => {
      const value = this.#values[i]!;
      // A group that nobody writes is of a part that is not there.
      if (Number.isNaN(value)) return;
      groups[group] ??= {};
      groups[group][name] = value;
    });
    return groups;
  }
}
