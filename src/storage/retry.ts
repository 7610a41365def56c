import { isMillraceError, MillraceError, throwIfAborted } from "../errors.js";
import { backoffMs } from "../util/backoff.js";
import { type Clock, systemClock } from "../util/clock.js";
import { compareUtf8 } from "../util/utf8-order.js";
import type { OriginReadOptions, OriginStore } from "./origin-store.js";
import { passedOn } from "./passed-on.js";
import type { ListOptions, Store, StoredObject } from "./store.js";
import { skipTargets } from "./targets.js";

/** Bounds and pace of retries. */
export interface RetryPolicy {
  /** Tries in all, the first included. Default 6. */
  readonly tries?: number | undefined;
  /** No try begins after this much time, milliseconds. Default 5 minutes. */
  readonly totalMs?: number | undefined;
  /** Upper bound of the first wait; doubles with each failure. Default 100 ms. */
  readonly baseMs?: number | undefined;
  /** Upper bound of any wait. Default 20 s. A longer Retry-After is honoured as far as `totalMs` allows. */
  readonly capMs?: number | undefined;
  /** Uniform in [0, 1): the jitter. Default Math.random. */
  readonly random?: (() => number) | undefined;
  readonly clock?: Clock | undefined;
  /** Called before each retry. */
  readonly onRetry?: ((error: MillraceError, delayMs: number) => void) | undefined;
}

/** Asks of one operation's failures whether, and when, to try again. */
class Attempts {
  readonly #policy: RetryPolicy;
  readonly #clock: Clock;
  #began: number;
  #failures = 0;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
    this.#clock = policy.clock ?? systemClock;
    this.#began = this.#clock.now();
  }

  /** The operation has got somewhere: the bounds hold from here anew. */
  restart(): void {
    this.#failures = 0;
    this.#began = this.#clock.now();
  }

  /** Resolves when the next try may begin; throws what ends the operation. */
  async next(error: unknown, signal: AbortSignal | undefined): Promise<void> {
    if (!isMillraceError(error, "MILLRACE_UNAVAILABLE") && !isMillraceError(error, "MILLRACE_TIMEOUT")) throw error;
    throwIfAborted(signal);
    const { tries = 6, totalMs = 300_000, baseMs = 100, capMs = 20_000, random = Math.random, onRetry } = this.#policy;
    this.#failures++;
    const delayMs = Math.max(backoffMs(this.#failures, baseMs, capMs, random), error.retryAfterMs ?? 0);
    const elapsedMs = this.#clock.now() - this.#began;
    if (this.#failures >= tries || elapsedMs + delayMs > totalMs) throw gaveUp(error, this.#failures, elapsedMs);
    onRetry?.(error, delayMs);
    await this.#clock.sleep(delayMs, signal);
  }
}

function gaveUp(error: MillraceError, tries: number, elapsedMs: number): MillraceError {
  const { uri, range, retryAfterMs } = error;
  const message = `${error.message}; gave up after ${tries} ${tries === 1 ? "try" : "tries"} in ${(elapsedMs / 1000).toFixed(1)} s`;
  return new MillraceError(error.code, message, { uri, range, retryAfterMs, cause: error });
}

/** Runs `work` until it succeeds, within the policy. Only MILLRACE_UNAVAILABLE and MILLRACE_TIMEOUT are tried again. */
export async function retried<T>(policy: RetryPolicy, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const attempts = new Attempts(policy);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      await attempts.next(error, signal);
    }
  }
}

/**
 * The store, with its reads, stats, listings and removals retried. A read goes on with the bytes that are missing, a listing after the last path delivered
 * (its bounds begin anew with each path). `write` is passed through: its parts can be read once only, so what can be replayed
 * (one part of a multipart upload) is retried by the store itself.
 */
export function withRetry(store: OriginStore, policy: RetryPolicy = {}): OriginStore {
  const { remove } = store;
  return {
    ...passedOn(store),
    list: (prefix, options) => retriedList(store, policy, prefix, options ?? {}),
    stat: (path, options) => retried(policy, options?.signal, () => store.stat(path, options)),
    readInto: (object, begin, targets, options) => retriedRead(store, policy, object, begin, targets, options ?? {}),
    ...(remove && { remove: (path, options) => retried(policy, options?.signal, () => remove.call(store, path, options)) }),
  };
}

async function* retriedList(store: Store, policy: RetryPolicy, prefix: string, options: ListOptions): AsyncIterable<StoredObject> {
  const attempts = new Attempts(policy);
  let last = options.startAfter;
  for (;;) {
    try {
      for await (const stored of store.list(prefix, { ...options, startAfter: last })) {
        // A store of the user's may not know startAfter.
        if (last !== undefined && compareUtf8(stored.path, last) <= 0) continue;
        last = stored.path;
        yield stored;
        attempts.restart();
      }
      return;
    } catch (error) {
      await attempts.next(error, options.signal);
    }
  }
}

async function retriedRead(
  store: OriginStore,
  policy: RetryPolicy,
  object: StoredObject,
  begin: number,
  targets: readonly Uint8Array[],
  options: OriginReadOptions,
): Promise<void> {
  const progress = options.progress ?? { received: 0 };
  const before = progress.received;
  // The claim is asked once for the whole read: who holds it keeps it over all tries.
  let claimed: boolean | undefined;
  const claim = options.claim && (() => (claimed ??= options.claim!()));
  await retried(policy, options.signal, () => {
    const received = progress.received - before;
    return store.readInto(object, begin + received, skipTargets(targets, received), { ...options, claim, progress });
  });
}
