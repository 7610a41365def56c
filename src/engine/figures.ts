/** Gathers the figures of `mill.stats()` from those who count them. */
import type { CacheStats } from "../cache/cache-counters.js";
import type { MetadataStats } from "../cache/metadata-cache.js";
import type { Figures } from "../diagnostics.js";
import type { StoreCounters } from "../storage/count.js";
import type { FileStats } from "./files.js";
import type { OriginLimits } from "./origins.js";
import type { PeerNodeStats } from "./peer-node.js";
import type { SaveStats } from "./save-protocol.js";

export function figures(
  origin: StoreCounters,
  limits: OriginLimits,
  cache: CacheStats,
  metadata: MetadataStats,
  files: FileStats,
  saves: SaveStats,
  peers: PeerNodeStats | undefined,
): Figures {
  return {
    ...(peers && { peers: peerFigures(peers) }),
    origin: {
      requests: origin.reads,
      bytes: origin.bytes,
      lists: origin.lists,
      stats: origin.stats,
      writes: origin.writes,
      retries: origin.retries,
      hedges: origin.hedges,
      hedgeWins: origin.hedgeWins,
      errors: origin.errors,
      inFlight: limits.inFlight,
      queued: limits.queued,
      concurrency: limits.concurrency,
      slowDowns: limits.slowDowns,
    },
    memory: {
      hits: cache.memoryHits,
      bytes: cache.memoryBytes,
      heldBytes: cache.memoryHeldBytes,
      chargedBytes: cache.memoryChargedBytes,
      capacityBytes: cache.memoryCapacityBytes,
      evictions: cache.memoryEvictions,
      segmentBytes: cache.slab.segmentBytes,
      workingBytes: cache.slab.workingBytes,
      workingPeakBytes: cache.slab.workingPeakBytes,
      wasteBytes: cache.slab.wasteBytes,
    },
    disk: {
      hits: cache.diskHits,
      bytes: cache.diskBytes,
      heldBytes: cache.disk.heldBytes,
      chargedBytes: cache.disk.chargedBytes,
      capacityBytes: cache.disk.capacityBytes,
      queuedBytes: cache.disk.queuedBytes,
      writes: cache.disk.writes,
      failedWrites: cache.disk.failedWrites,
      evictions: cache.disk.evictions,
      checksumMisses: cache.disk.checksumMisses,
      disabledDirectories: cache.disk.disabled.length,
      processes: cache.disk.processes,
      claimTakeovers: cache.disk.claimTakeovers,
    },
    cache: {
      misses: cache.misses,
      originBytes: cache.originBytes,
      fetchedBytes: cache.originFetchedBytes,
      admittedBytes: cache.admittedBytes,
      joined: cache.joined,
      streamed: cache.streamed,
      abandoned: cache.abandoned,
    },
    metadata: {
      statHits: metadata.statHits,
      statRequests: metadata.statRequests,
      negativeHits: metadata.negativeHits,
      listHits: metadata.listHits,
      listRequests: metadata.listRequests,
      indexHits: metadata.blobMemoryHits + metadata.blobDiskHits,
      indexMisses: metadata.blobMisses,
      entries: metadata.entries,
      bytes: metadata.bytes,
    },
    files: { ...files },
    saves: { ...saves },
  };
}

function peerFigures({ listening, members, strangers, counters, peers, served }: PeerNodeStats): Figures[string] {
  const { fallbacks } = counters;
  return {
    listening: Number(listening),
    members: members.length,
    strangers: strangers.length,
    broken: peers.filter(({ state }) => state !== "closed").length,
    requests: counters.requests,
    answered: counters.answered,
    blocks: counters.blocks,
    bytes: counters.bytes,
    corruptBlocks: counters.corruptBlocks,
    fallbacksUnreachable: fallbacks.unreachable,
    fallbacksSlow: fallbacks.slow,
    fallbacksBusy: fallbacks.busy,
    fallbacksCorrupt: fallbacks.corrupt,
    fallbacksRefused: fallbacks.refused,
    fallbacksFailed: fallbacks.failed,
    fallbacksOptions: fallbacks.options,
    fallbacksOpen: fallbacks.open,
    served: served?.answered ?? 0,
    servedBytes: served?.bytes ?? 0,
    servedOriginBytes: served?.originBytes ?? 0,
    refused: Object.values(served?.refused ?? {}).reduce((sum, count) => sum + count, 0),
  };
}
