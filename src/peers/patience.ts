import type { AlarmClock } from "../util/alarm-clock.js";
import { Countdown } from "./countdown.js";

/** How often a wait is looked at, milliseconds: for a peer's sign of life, and for what comes of the request itself. */
const TICK_MS = { peer: 100, own: 1_000 } as const;
/**
 * The peer's silence, times which a request is waited for of which nothing is heard, while others of the same peer are: a server's loop may take
 * one new connection a turn (libuv does), so that one of 56 waits long; but a connection may also be lost alone.
 */
const OWN_SILENCES = 10;

/** How long a peer is waited for, milliseconds. */
export interface Waits {
  /** For a sign of life of the peer, on whatever connection. */
  readonly silenceMs: number;
  /** For what was asked, whatever signs there are. */
  readonly answerMs: number;
}

/** What counts the signs of life of one peer, of all requests to it. */
export interface Signs {
  signs: number;
}

/** Why the wait is over: nothing was heard, or what was asked did not come. */
export type Late = "silent" | "long";

/**
 * Fires its signal when nothing was heard of the peer for a while, or of this request for longer, or when what was asked for has not come in a
 * longer time still, or when the caller's own signal fires. To be ended.
 */
export class Patience {
  readonly #theirs: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #peer: Signs;
  readonly #countdowns: readonly Countdown[];
  #own = 0;
  #late: Late | undefined;

  constructor(clock: AlarmClock, { silenceMs, answerMs }: Waits, peer: Signs, signal: AbortSignal | undefined) {
    this.#theirs = signal;
    this.#peer = peer;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    const silent = (): void => this.#give("silent", "no sign of life in time");
    const late = (): void => this.#give("long", `no answer in ${answerMs} ms`);
    this.#countdowns = [
      new Countdown(clock, { ms: silenceMs, tickMs: TICK_MS.peer, signs: () => peer.signs, due: silent }),
      new Countdown(clock, { ms: silenceMs * OWN_SILENCES, tickMs: TICK_MS.own, signs: () => this.#own, due: silent }),
      new Countdown(clock, { ms: answerMs, tickMs: TICK_MS.own, due: late }),
    ];
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time was up. */
  get late(): Late | undefined {
    return this.#late;
  }

  /** A sign of life, which counts for all who wait for this peer. */
  heard(): void {
    this.#own++;
    this.#peer.signs++;
  }

  /** The answer has begun: there is nothing more to wait for, but the caller's signal still counts. */
  calm(): void {
    for (const countdown of this.#countdowns) countdown.stop();
  }

  end(): void {
    this.calm();
    this.#theirs?.removeEventListener("abort", this.#onAbort);
  }

  #give(late: Late, message: string): void {
    this.#late = late;
    this.#controller.abort(new Error(message));
  }

  readonly #onAbort = (): void => this.#controller.abort(this.#theirs!.reason);
}
