/** Whether a peer is worth asking: a circuit breaker, and how long to wait for a sign of life. Pure but for its clock; no I/O. */
import { backoffMs } from "../util/backoff.js";
import type { Clock } from "../util/clock.js";
import type { FallbackReason } from "./peer-counters.js";

/**
 * A peer that is silent for that long is passed over, milliseconds. At least: what a busy machine may keep a process waiting (8 nodes that began
 * an epoch on 2 CPUs at once were silent for up to a second). At most: what a loop bears.
 */
const SILENCE_MS = { least: 1200, most: 1500 } as const;
/** Failures in a row that open the circuit: one may be a restart, or a connection that had grown old. */
export const FAILURES = 3;
/** From opening to the first probe, milliseconds; doubled with each probe that fails, halved at random so that nodes do not probe together. */
const PROBE_AFTER_MS = { base: 250, cap: 30_000 } as const;
/** A peer whose bytes were wrong is left alone for that long, milliseconds: its memory or its network is damaged, and neither heals at once. */
const DISTRUST_MS = 300_000;
/** A peer with other options, or another secret, must be started anew before it is of use, milliseconds. */
const MISMATCH_MS = 10_000;

/** How long to wait for a peer's sign of life: less than the origin takes, within bounds. `originCostMs`: undefined while it is not known. */
export function silenceMs(originCostMs: number | undefined): number {
  return Math.min(SILENCE_MS.most, Math.max(SILENCE_MS.least, originCostMs ?? SILENCE_MS.most));
}

/** "closed": asked. "open": not asked. "half-open": not asked, but for one probe that is under way. */
export type CircuitState = "closed" | "open" | "half-open";

/** What is known of one peer's health. */
export class PeerHealth {
  readonly #clock: Clock;
  readonly #random: () => number;
  #state: CircuitState = "closed";
  #failures = 0;
  /** Times in a row that the circuit was opened. */
  #opened = 0;
  #probeAt = 0;
  #reason: FallbackReason | undefined;
  #brokenSince: number | undefined;

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** Why the circuit is not closed, or was not at last. */
  get reason(): FallbackReason | undefined {
    return this.#reason;
  }

  /** When the circuit ceased to be closed, by the clock; undefined while it is. */
  get brokenSince(): number | undefined {
    return this.#brokenSince;
  }

  /** True once each time that a probe is due: whoever is told so makes it, and says how it went. */
  takeProbe(): boolean {
    if (this.#state !== "open" || this.#clock.now() < this.#probeAt) return false;
    this.#state = "half-open";
    return true;
  }

  /** A request was answered. One sent before the circuit opened does not close it. */
  answered(): void {
    if (this.#state === "closed") this.#failures = 0;
  }

  /** A probe was answered as it should be. */
  probed(): void {
    this.#state = "closed";
    this.#failures = 0;
    this.#opened = 0;
    this.#brokenSince = undefined;
  }

  /** A request or a probe failed. */
  failed(reason: FallbackReason): void {
    // Requests sent before the circuit opened say nothing new, unless it is worse.
    if (this.#state === "open" && fixedMs(reason) === undefined) return;
    this.#failures++;
    if (this.#state !== "closed" || this.#failures >= FAILURES || fixedMs(reason) !== undefined) this.#open(reason);
  }

  /** A probe came to no result. */
  probeAborted(): void {
    if (this.#state === "half-open") this.#state = "open";
  }

  #open(reason: FallbackReason): void {
    this.#state = "open";
    this.#reason = reason;
    this.#brokenSince ??= this.#clock.now();
    this.#opened++;
    // Half of it is certain, or a probe might come at once.
    const grown = PROBE_AFTER_MS.base * 2 ** Math.min(this.#opened - 1, 20);
    const jitter = backoffMs(this.#opened, PROBE_AFTER_MS.base / 2, PROBE_AFTER_MS.cap / 2, this.#random);
    const wait = fixedMs(reason) ?? Math.min(grown, PROBE_AFTER_MS.cap) / 2 + jitter;
    this.#probeAt = Math.max(this.#probeAt, this.#clock.now() + wait);
  }
}

function fixedMs(reason: FallbackReason): number | undefined {
  if (reason === "corrupt") return DISTRUST_MS;
  return reason === "options" || reason === "refused" ? MISMATCH_MS : undefined;
}
