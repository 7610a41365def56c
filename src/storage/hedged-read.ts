import { isMillraceError } from "../errors.js";
import type { ReadOptions, ReadProgress } from "./store.js";

/** Who decides whether a read is sent again. */
export interface ReadWatcher {
  /** At rest, for reads to use again: making one costs 4 of the 6 µs that hedging would add to a read. */
  readonly controllers: AbortController[];
  /** Milliseconds. */
  now(): number;
  /** The read's first request is on its way. */
  began(read: HedgedRead): void;
  /** A request has a valid head: the first, or the second, which was sent at `hedgedAt`. */
  answered(read: HedgedRead, hedgedAt: number | undefined): void;
  /** The read has ended without a head, or is no more wanted. */
  forget(read: HedgedRead): void;
  /** A request has failed and its read will not say so: the outcome is the other one's. */
  passedOver(failure: RequestFailure): void;
}

/** Of one request. */
export interface RequestFailure {
  readonly error: unknown;
  readonly sentAt: number;
}

/** One request of a read. Its progress is its own, so that whoever counts it counts no bytes of the other's. */
class ReadRequest implements ReadProgress {
  readonly controller: AbortController;
  readonly sentAt: number;
  readonly #total: ReadProgress | undefined;
  #received = 0;

  constructor(controller: AbortController, sentAt: number, total: ReadProgress | undefined) {
    this.controller = controller;
    this.sentAt = sentAt;
    this.#total = total;
  }

  get received(): number {
    return this.#received;
  }

  set received(bytes: number) {
    const more = bytes - this.#received;
    this.#received = bytes;
    if (this.#total !== undefined) this.#total.received += more;
  }
}

/**
 * One read, by one request or by two. The first valid head wins the claim; the other request is aborted unread. Settles when both have: only
 * then are the targets their owner's again. A failure that another try may mend leaves the other request to go on; both failed: the first error.
 */
export class HedgedRead {
  readonly #watcher: ReadWatcher;
  readonly #read: (options: ReadOptions) => Promise<void>;
  readonly #options: ReadOptions;
  readonly #requests: ReadRequest[] = [];
  #running = 0;
  /** Its outcome is the read's. */
  #winner: ReadRequest | undefined;
  #failure: RequestFailure | undefined;
  #settle!: { readonly resolve: () => void; readonly reject: (error: unknown) => void };

  constructor(watcher: ReadWatcher, read: (options: ReadOptions) => Promise<void>, options: ReadOptions) {
    this.#watcher = watcher;
    this.#read = read;
    this.#options = options;
  }

  /** When the first request was sent, by the watcher's clock. */
  get beganAt(): number {
    return this.#requests[0]!.sentAt;
  }

  /** Sends the first request. Once only; the caller's signal has not fired yet. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#options.signal?.addEventListener("abort", this.#onAbort, { once: true });
      this.send();
    });
  }

  /** Sends a request: the first, or the hedge. */
  send(): void {
    const controller = this.#watcher.controllers.pop() ?? new AbortController();
    const request = new ReadRequest(controller, this.#watcher.now(), this.#options.progress);
    this.#requests.push(request);
    this.#running++;
    if (this.#running === 1) this.#watcher.began(this);
    const { signal } = controller;
    this.#read({ ...this.#options, signal, progress: request, claim: () => this.#claim(request) }).then(
      () => this.#ended(request, undefined),
      (error: unknown) => this.#ended(request, { error, sentAt: request.sentAt }),
    );
  }

  #claim(request: ReadRequest): boolean {
    if (this.#winner !== undefined) return false;
    this.#watcher.answered(this, request === this.#requests[0] ? undefined : request.sentAt);
    this.#decide(request);
    return this.#options.claim?.() ?? true;
  }

  /** From here on this request's outcome is the read's. */
  #decide(winner: ReadRequest): void {
    this.#winner = winner;
    // The other request has failed before, and now the read will not say so.
    this.#passOver(this.#failure);
    this.#failure = undefined;
    for (const other of this.#requests) if (other !== winner) other.controller.abort(new Error("the other request has won"));
  }

  #ended(request: ReadRequest, failure: RequestFailure | undefined): void {
    this.#running--;
    if (this.#winner === undefined && (failure === undefined || !mayPass(failure.error))) this.#decide(request);
    if (this.#winner === request) this.#failure = failure;
    else if (this.#winner !== undefined) this.#passOver(failure);
    else {
      const told = moreTelling(this.#failure, failure);
      this.#passOver(told === failure ? this.#failure : failure);
      this.#failure = told;
    }
    if (this.#running === 0) this.#end();
  }

  #passOver(failure: RequestFailure | undefined): void {
    if (failure !== undefined) this.#watcher.passedOver(failure);
  }

  #end(): void {
    this.#watcher.forget(this);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    // Not before: until both have ended, the one may abort the other.
    for (const { controller } of this.#requests) if (!controller.signal.aborted) this.#watcher.controllers.push(controller);
    if (this.#failure === undefined) this.#settle.resolve();
    else this.#settle.reject(this.#failure.error);
  }

  readonly #onAbort = (): void => {
    this.#watcher.forget(this);
    for (const { controller } of this.#requests) controller.abort(this.#options.signal!.reason);
  };
}

/** Of two failures the first, but rather the one that asks for fewer requests. */
function moreTelling<T extends { readonly error: unknown }>(first: T | undefined, second: T | undefined): T | undefined {
  return first === undefined || (isMillraceError(second?.error) && second.error.retryAfterMs !== undefined) ? second : first;
}

/** What another request may mend: the other one goes on. */
function mayPass(error: unknown): boolean {
  return isMillraceError(error, "MILLRACE_UNAVAILABLE") || isMillraceError(error, "MILLRACE_TIMEOUT");
}
