import type { Clock } from "../util/clock.js";

/** Fires its signal when nothing was heard for a while. */
export class Patience {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #over = new AbortController();
  #timer: AbortController | undefined;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** A sign of life: the wait begins anew. */
  heard(): void {
    this.end();
    const timer = new AbortController();
    this.#timer = timer;
    this.#clock.sleep(this.#ms, timer.signal).then(
      () => this.#over.abort(new Error(`no sign of life in ${this.#ms} ms`)),
      () => {},
    );
  }

  /** There is nothing more to wait for. */
  end(): void {
    this.#timer?.abort();
  }
}
