/**
 * The caller's end of a run: batches that the engine has sent, and the credit that lets it send more.
 * The queue is the back-pressure: a loop that does not ask gets no more than its credit, and the engine then stops fetching.
 */
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
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
  readonly #engine: EngineClient;
  readonly #port;
  readonly #queue: BatchMessage[] = [];
  readonly #onStats: (stats: EngineLoaderStats) => void;
  /** Settles when the engine has given back all that the run held. */
  readonly ended: Promise<void>;
  #waiting: Deferred<void> | undefined;
  #received = 0;
  #over = false;
  #failure: unknown;
  #creditGrown = false;

  constructor(engine: EngineClient, start: StreamStart, onStats: (stats: EngineLoaderStats) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#engine = engine;
    this.#port = port1;
    this.#onStats = onStats;
    port1.on("message", (message: RunMessage) => this.#receive(message));
    const closed = new Promise<void>((resolve) => port1.once("close", resolve));
    // Only a loop that waits keeps the process alive: by the engine's connection, since the run's result comes over that.
    port1.unref();
    this.#control({ t: "credit", count: FIRST_CREDIT });
    const call = engine.call("runLoader", { ...start, port: port2 }, { transfer: [port2], background: true });
    call.catch((error) => this.#fail(error));
    // The call's result may overtake the last batches, which travel by another port: the run is over when both have ended.
    this.ended = Promise.allSettled([call, closed]).then(() => {
      this.#over = true;
      this.#waiting?.resolve();
    });
  }

  /** The next batch, or undefined at the end of the run. */
  async next(signal: AbortSignal | undefined): Promise<BatchMessage | undefined> {
    // The signal may have fired while the caller waited for something else.
    if (signal?.aborted) this.stop(abortedError(signal, "Iteration"));
    // A step that blocked this thread leaves batches in the port: they need not wait for a turn of the event loop.
    if (this.#queue.length === 0) this.#drain();
    while (this.#queue.length === 0 && !this.#over) await this.#wait(signal);
    const message = this.#queue.shift();
    if (message === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      return undefined;
    }
    this.#control({ t: "credit", count: 1 + this.#growth(message) });
    // Told with the batch and not before: figures are of what the loop has received.
    this.#onStats(message.stats);
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
    // Its end is a matter of moments now, and whoever waits for it must not be alone in the process.
    void this.ended.then(this.#engine.hold());
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    this.#waiting = deferred();
    this.#control({ t: "waiting", received: this.#received });
    const abort = () => this.stop(abortedError(signal!, "Iteration"));
    signal?.addEventListener("abort", abort, { once: true });
    const release = this.#engine.hold();
    await this.#waiting.promise;
    release();
    signal?.removeEventListener("abort", abort);
    this.#waiting = undefined;
  }

  #growth(message: BatchMessage): number {
    if (this.#creditGrown) return 0;
    this.#creditGrown = true;
    const bytes = Math.max(1, message.batch.byteLength);
    return Math.max(FIRST_CREDIT, Math.min(MOST_CREDIT, Math.floor(QUEUE_BYTES / bytes))) - FIRST_CREDIT;
  }

  /** Batches that were sent before the failure are there: it came by another way. */
  #fail(error: unknown): void {
    this.#drain();
    this.#failure ??= error;
    this.#port.close();
  }

  #drain(): void {
    for (let sent = receiveMessageOnPort(this.#port); sent !== undefined; sent = receiveMessageOnPort(this.#port))
      this.#receive(sent.message);
  }

  #control(message: RunControl): void {
    this.#port.postMessage(message);
  }

  #receive(message: RunMessage): void {
    if (message.t === "end") this.#onStats(message.stats);
    if (message.t === "end" || this.#over) return;
    this.#queue.push(message);
    this.#received++;
    this.#waiting?.resolve();
  }
}
