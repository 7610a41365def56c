import type { Dispatcher } from "undici";
import { abortedError, throwIfAborted } from "../errors.js";
import { httpAgent } from "./http-client.js";
import type { HttpTimeouts } from "./http-timeouts.js";
import { networkError, type Refusal } from "./network-errors.js";
import { Proxies } from "./proxies.js";
import { RangeAnswer, type RangeGetter, type RangeRequest } from "./range-answer.js";
import { RangeClient } from "./range-client.js";
import type { ReadOptions } from "./store.js";
import { redactUri } from "./uri.js";

/** A store's two ways to its servers: one for hot GETs, one for all else and for answers that the first does not take. */
export class HttpTransports {
  readonly ranges: RangeGetter;
  readonly agent: Dispatcher;
  readonly #own: RangeClient | undefined;
  readonly #proxies: Proxies;

  /** `ranges`, where given, stays its owner's to close. Default: a client in this thread. `proxies`: default none. */
  constructor(timeouts: HttpTimeouts = {}, ranges?: RangeGetter, proxies: Proxies = new Proxies()) {
    this.#own = ranges === undefined ? new RangeClient(timeouts) : undefined;
    this.ranges = ranges ?? this.#own!;
    this.agent = httpAgent(timeouts, proxies);
    this.#proxies = proxies;
  }

  /** True where all that goes to this origin goes by the agent. Throws MILLRACE_CONFIG where its proxy is no URL. */
  proxied(origin: string): boolean {
    return this.#proxies.for(origin) !== undefined;
  }

  /** Requests under way fail with MILLRACE_CLOSED, later ones too. Resolves when every socket is closed. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#own?.close(), this.agent.destroy()]);
  }
}

/**
 * Sends one GET and fills the targets, which are `range.end - range.begin` bytes together.
 * Resolves to undefined when the targets are full or the claim was refused, and to the response where the server answered with another status.
 * Once it has settled, nothing more is written. Throws MILLRACE_CHANGED, _CONFIG, _TIMEOUT, _UNAVAILABLE, _ABORTED, _CLOSED.
 */
export async function rangeGet(
  transports: HttpTransports,
  request: RangeRequest,
  targets: readonly Uint8Array[],
  options: ReadOptions = {},
): Promise<Refusal | undefined> {
  throwIfAborted(options.signal, "The read");
  const answer = new RangeAnswer(request, targets, options);
  if (transports.proxied(request.origin)) return dispatchGet(transports.agent, answer, options.signal);
  const outcome = await transports.ranges.get(answer, options.signal);
  // Nothing was written or claimed: the answer can begin anew.
  if (outcome === "unexpected") return dispatchGet(transports.agent, answer, options.signal);
  return outcome === "done" ? undefined : outcome;
}

/** The same by undici, which takes any body: chunked, or as long as the connection stands. It copies each piece. */
export function dispatchGet(agent: Dispatcher, answer: RangeAnswer, signal: AbortSignal | undefined): Promise<Refusal | undefined> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedError(signal, "The read"));
    const { origin, path, headers } = answer.request;
    agent.dispatch({ origin, path, method: "GET", headers }, new DispatchExchange(answer, signal, resolve, reject));
  });
}

class DispatchExchange implements Dispatcher.DispatchHandler {
  readonly #answer: RangeAnswer;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (refusal: Refusal | undefined) => void;
  readonly #reject: (error: Error) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #refused = false;
  #settled = false;

  constructor(
    answer: RangeAnswer,
    signal: AbortSignal | undefined,
    resolve: (refusal: Refusal | undefined) => void,
    reject: (error: Error) => void,
  ) {
    this.#answer = answer;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Aborted while the request still waited for its connection: end it as soon as there is something to end.
    if (this.#settled) controller.abort(new Error("aborted before it was sent"));
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: Refusal["headers"]): void {
    if (this.#settled || status < 200) return;
    this.#attempt(() => {
      const verdict = this.#answer.head(status, headers);
      this.#refused = verdict === "refusal";
      if (verdict === "unclaimed") this.#succeed();
    });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return;
    if (!this.#refused) this.#attempt(() => this.#answer.write(chunk));
    else if (this.#answer.keep(chunk)) this.#succeed();
  }

  onResponseEnd(): void {
    if (this.#settled) return;
    if (!this.#refused && this.#answer.missing > 0) this.#fail(this.#answer.cutShort());
    else this.#succeed();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#settled) return;
    // What was kept of a refusal's body says more than the broken socket does.
    if (this.#refused) this.#succeed();
    else this.#fail(networkError(error, this.#answer.request));
  }

  readonly #onAbort = (): void => this.#fail(abortedError(this.#signal!, `The read of ${redactUri(this.#answer.request.uri)}`));

  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #succeed(): void {
    this.#end();
    // Does nothing to a response that is at its end; one that is not takes its connection with it.
    if (this.#answer.missing > 0) this.#controller?.abort(new Error("the rest is not needed"));
    this.#resolve(this.#answer.refusal());
  }

  #fail(error: Error): void {
    if (this.#settled) return;
    this.#end();
    this.#controller?.abort(error);
    this.#reject(error);
  }

  #end(): void {
    this.#settled = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
