import type { FoundPeer } from "./found-peer.js";

/** What one look at an engine brought. */
export interface Finding {
  readonly peers: readonly FoundPeer[];
  /** When to look again, in milliseconds. */
  readonly againMs: number;
  /** Entries that were left out, a line each. */
  readonly ignored?: readonly string[];
}

/** One place where peers are found: a name in DNS, a Redis, a file. Lists of members are kept by `EngineWatch`, not here. */
export interface Engine {
  /** For messages: credentials left out. */
  readonly name: string;
  /**
   * Looks once. Rejects where there is no answer; then the last list holds. MILLRACE_CONFIG is final: it is not asked again.
   * The signal fires when the look takes too long or all is closed. Another look may begin although this one has not ended.
   */
  find(signal: AbortSignal): Promise<Finding>;
  /** Calls back when a look would bring something else; the returned function ends that. */
  watch?(changed: () => void): () => void;
  /** Gives back what it holds. No look is under way then but for one that has not noticed its signal. */
  close?(): Promise<void>;
}
