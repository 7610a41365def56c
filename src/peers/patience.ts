import type { AlarmClock } from "../util/alarm-clock.js";

/** How often a wait is looked at, milliseconds: for a sign of life, and for the answer. */
const TICK_MS = { silence: 100, answer: 1_000 } as const;

/** How long a peer is waited for, milliseconds. */
export interface Waits {
  /** For a sign of life. */
  readonly silenceMs: number;
  /** For what was asked, whatever signs there are. */
  readonly answerMs: number;
}

/** Why the wait is over: nothing was heard, or what was asked did not come. */
export type Late = "silent" | "long";

/**
 * Fires its signal when nothing was heard for a while, or what was asked for has not come in a longer one, or when the caller's own signal
 * fires. To be ended.
 */
export class Patience {
  readonly #theirs: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #silence: Countdown;
  readonly #answer: Countdown;
  readonly #silenceMs: number;
  #late: Late | undefined;

  constructor(clock: AlarmClock, { silenceMs, answerMs }: Waits, signal: AbortSignal | undefined) {
    this.#theirs = signal;
    this.#silenceMs = silenceMs;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#silence = new Countdown(clock, TICK_MS.silence, () => this.#give("silent", `no sign of life in ${silenceMs} ms`));
    this.#answer = new Countdown(clock, TICK_MS.answer, () => this.#give("long", `no answer in ${answerMs} ms`));
    this.#answer.start(answerMs);
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time was up. */
  get late(): Late | undefined {
    return this.#late;
  }

  /** A sign of life: the wait for one begins anew. */
  heard(): void {
    this.#silence.start(this.#silenceMs);
  }

  /** The answer has begun: there is nothing more to wait for, but the caller's signal still counts. */
  calm(): void {
    this.#silence.stop();
    this.#answer.stop();
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

/**
 * A time that passes in turns of this process's own loop: where the machine keeps it waiting, it keeps its neighbours waiting too, and they are
 * not to pass for dead.
 */
class Countdown {
  readonly #clock: AlarmClock;
  readonly #tickMs: number;
  readonly #due: () => void;
  #leftMs = 0;
  /** Of this start: a turn begun before it does not count. */
  #starts = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: AlarmClock, tickMs: number, due: () => void) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#due = due;
  }

  start(ms: number): void {
    this.stop();
    this.#leftMs = ms;
    this.#tick();
  }

  stop(): void {
    this.#starts++;
    this.#cancel?.();
  }

  #tick(): void {
    const starts = this.#starts;
    const ms = Math.min(this.#tickMs, this.#leftMs);
    // What came meanwhile is read first.
    this.#cancel = this.#clock.after(ms, () => setImmediate(() => starts === this.#starts && this.#passed(ms)));
  }

  #passed(ms: number): void {
    this.#leftMs -= ms;
    if (this.#leftMs > 0) this.#tick();
    else this.#due();
  }
}
