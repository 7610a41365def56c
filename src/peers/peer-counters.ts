import type { RefusalReason } from "./peer-protocol.js";

/**
 * Why a peer that was to be asked did not serve. "unreachable": no connection, or it broke; "slow": no sign of life in time; "busy": it said so;
 * "corrupt": a wrong checksum or a wrong form; "refused": it does not take our word or does not have the object's mount; "failed": it could not
 * get the bytes itself, or not in time; "options": it speaks another version or has other options; "open": not asked, because of an earlier one of these.
 */
export type FallbackReason = "unreachable" | "slow" | "busy" | "corrupt" | "refused" | "failed" | "options" | "open";

/** What this node has asked of peers, from its start on. */
export class PeerClientCounters {
  /** Requests for blocks that were sent. */
  requests = 0;
  /** Of these, those that brought their bytes. */
  answered = 0;
  /** Blocks, or parts of blocks, that they brought. */
  blocks = 0;
  bytes = 0;
  /** Blocks whose checksum was wrong: not used. */
  corruptBlocks = 0;
  /** Requests sent again with the time of the peer's clock. */
  skewRetries = 0;
  /** Peers passed over, by reason: the next one was asked, or the origin. */
  readonly fallbacks: Record<FallbackReason, number> = {
    unreachable: 0,
    slow: 0,
    busy: 0,
    corrupt: 0,
    refused: 0,
    failed: 0,
    options: 0,
    open: 0,
  };
}

/** What peers have asked of this node, from its start on. */
export class PeerServerCounters {
  /** Requests for blocks that were answered with all of their bytes. */
  answered = 0;
  /** Blocks, or parts of blocks, of these. */
  blocks = 0;
  bytes = 0;
  /** Bytes that had to be fetched from the origin for peers. */
  originBytes = 0;
  /** Requests that were given up by the asker before they were answered. */
  abandoned = 0;
  /** Answers cut off because the asker did not take them. */
  cutOff = 0;
  /** Connections refused because there were too many. */
  dropped = 0;
  /** TLS handshakes that failed. */
  tlsFailures = 0;
  /** Requests refused, by reason. */
  readonly refused: Record<RefusalReason, number> = {
    path: 0,
    malformed: 0,
    oversized: 0,
    unsigned: 0,
    signature: 0,
    expired: 0,
    options: 0,
    object: 0,
    busy: 0,
    closing: 0,
    origin: 0,
  };
}
