/**
 * The caller's end of a run: batches that the engine has sent, and the credit that lets it send more.
 * The queue is the back-pressure: a loop that does not ask gets no more than its credit, and the engine then stops fetching.
 */
import { MessageChannel } from "node:worker_threads";
import { abortedError, MillraceError } from "../errors.js";
import { type Deferred, deferred } from "../util/deferred.js";
import type { BatchMessage, EngineClient, EngineLoaderStats, RunControl, RunMessage } from "./protocol.js";

/** Batches in the queue until their size is known: one in use, one ready. */
const FIRST_CREDIT = 2;
/** Once it is: as many as fit into 64 MiB, 2 to 8. More only ages; two are needed to hide a batch's way across. */
const QUEUE_BYTES = 64 * 2 ** 20;
const MOST_CREDIT = 8;

export interface StreamStart {
  readonly loaderId: number;
  readonly epoch: number;
  readonly position: number;
  readonly until: number;
}

export class BatchStream {
  readonly #port;
  readonly #queue: BatchMessage[] = [];
  readonly #onStats: (stats: EngineLoaderStats) => void;
  /** Settles when the engine has given back all that the run held. */
  readonly ended: Promise<void>;
  #waiting: Deferred<void> | undefined;
  #over = false;
  #ending = false;
  #failure: unknown;
  #creditGrown = false;

  constructor(engine: EngineClient, start: StreamStart, onStats: (stats: EngineLoaderStats) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#onStats = onStats;
    port1.on("message", (message: RunMessage) => this.#receive(message));
    const closed = new Promise<void>((resolve) => port1.once("close", resolve));
    // Only a loop that waits keeps the process alive.
    port1.unref();
    this.#control({ t: "credit", count: FIRST_CREDIT });
    const call = engine.call("runLoader", { ...start, port: port2 }, { transfer: [port2] });
    // The call's result may overtake the last batches, which travel by another port: the run is over when both have ended.
    this.ended = Promise.allSettled([call, closed]).then(([result]) => {
      if (result.status === "rejected") this.#failure ??= result.reason;
      this.#over = true;
      this.#waiting?.resolve();
    });
    // Its end is a matter of moments now, and whoever waits for it must not be alone in the process.
    call.then(
      () => {
        this.#ending = true;
        port1.ref();
      },
      () => port1.close(),
    );
  }

  /** The next batch, or undefined at the end of the run. */
  async next(signal: AbortSignal | undefined): Promise<BatchMessage | undefined> {
    while (this.#queue.length === 0 && !this.#over) await this.#wait(signal);
    const message = this.#queue.shift();
    if (message === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      return undefined;
    }
    this.#control({ t: "credit", count: 1 + this.#growth(message) });
    return message;
  }

  recycle(buffers: ArrayBuffer[]): void {
    // A run that has ended needs no memory any more: the buffers are garbage then.
    if (!this.#over) this.#port.postMessage({ t: "recycle", buffers } satisfies RunControl, buffers);
  }

  /** Asks for no more; what is in flight is given back by the engine. Calling it twice does nothing. */
  stop(reason: Error = new MillraceError("MILLRACE_CLOSED", "This iteration has ended: its loader was closed or iterated anew")): void {
    if (this.#over) return;
    this.#control({ t: "stop" });
    this.#queue.length = 0;
    this.#failure ??= reason;
    this.#over = true;
    this.#waiting?.resolve();
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    this.#waiting = deferred();
    const abort = () => this.stop(abortedError(signal!, "Iteration"));
    signal?.addEventListener("abort", abort, { once: true });
    this.#port.ref();
    await this.#waiting.promise;
    if (!this.#ending) this.#port.unref();
    signal?.removeEventListener("abort", abort);
    this.#waiting = undefined;
  }

  #growth(message: BatchMessage): number {
    if (this.#creditGrown) return 0;
    this.#creditGrown = true;
    const bytes = Math.max(1, message.batch.byteLength);
    return Math.max(FIRST_CREDIT, Math.min(MOST_CREDIT, Math.floor(QUEUE_BYTES / bytes))) - FIRST_CREDIT;
  }

  #control(message: RunControl): void {
    this.#port.postMessage(message);
  }

  #receive(message: RunMessage): void {
    this.#onStats(message.stats);
    if (message.t === "end" || this.#over) return;
    this.#queue.push(message);
    this.#waiting?.resolve();
  }
}
