/** Open loaders on the engine's side: their order, their decoder, and the runs that hand their batches over. */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { BlockCache } from "../cache/tier-chain.js";
import { abortedError, MillraceError } from "../errors.js";
import { type AssembledBatch, batchBuffers } from "../loader/assemble.js";
import { orderOf } from "../loader/order-facts.js";
import type { PieceSource } from "../loader/piece.js";
import type { EngineLoaderStats, OpenLoader, RunControl, RunLoader, RunMessage } from "../loader/protocol.js";
import { type BatchMaker, Run, type RunSetup } from "../loader/run.js";
import type { ReadAheadBudget } from "../readahead/budget.js";
import { fixedDepth, SelfTuningDepth } from "../readahead/depth.js";
import { combinedSignal } from "../util/combined-signal.js";
import { deferred } from "../util/deferred.js";
import { type ClosableMaker, openMaker } from "./batch-maker.js";
import type { EngineDataset } from "./datasets.js";
import type { CallContext } from "./rpc.js";

interface Tally {
  readonly bytes: { memory: number; disk: number; peer: number; origin: number };
  originRequests: number;
  skipped: number;
}

/** What all loaders of an engine share. */
export interface LoaderContext {
  readonly cache: BlockCache;
  /** What one rank leaves, others read from this cache: together they read all of it. */
  readonly shared: boolean;
  /** Of the depths that nobody chose. */
  readonly budget: ReadAheadBudget;
}

export class EngineLoader {
  readonly #setup: RunSetup;
  readonly #maker: ClosableMaker;
  readonly #tally: Tally;
  /** Ends with the loader: whatever still runs for it. */
  readonly #closing = new AbortController();
  /** The last run's clean-up: the next run begins after it, so that memory is held once. */
  #previous: Promise<void> = Promise.resolve();

  /** Starts the decode workers, so that a decoder that cannot be loaded fails here and not in the epoch. */
  static async open(
    request: OpenLoader,
    dataset: EngineDataset,
    { cache, budget, shared }: LoaderContext,
    signal: AbortSignal,
  ): Promise<EngineLoader> {
    const { worldSize, stepsPerEpoch } = request.config;
    const rows = dataset.rows(request.steps);
    const order = orderOf(dataset.manifest, rows, request.config);
    const tally: Tally = { bytes: { memory: 0, disk: 0, peer: 0, origin: 0 }, originRequests: 0, skipped: 0 };
    const source: PieceSource = {
      manifest: dataset.manifest,
      rows,
      cache,
      object: dataset.object,
      wide: (worldSize === 1 || shared) && stepsPerEpoch === undefined && rows.count === dataset.manifest.sampleCount,
      served: (tier, bytes, requests) => {
        tally.bytes[tier] += bytes;
        if (tier === "origin") tally.originRequests += requests;
      },
    };
    const maker = await openMaker(request, dataset, signal);
    if (signal.aborted) {
      await maker.close();
      throw abortedError(signal, "Opening the loader");
    }
    const { readAhead } = request.config;
    const ahead =
      readAhead === "auto"
        ? { depth: new SelfTuningDepth(order, budget.totalBytes), budget }
        : { depth: fixedDepth(readAhead), budget: undefined };
    return new EngineLoader({ source, order, config: request.config, maker, ...ahead }, maker, tally);
  }

  private constructor(setup: RunSetup, maker: ClosableMaker, tally: Tally) {
    this.#setup = setup;
    this.#maker = maker;
    this.#tally = tally;
  }

  get setup(): RunSetup & { readonly maker: BatchMaker } {
    return this.#setup;
  }

  /** Sends batches over the request's port until the run has ended or the caller wants no more; then all it held is given back. `ending`: called before the caller can see the end. */
  async run(request: RunLoader, context: CallContext, ending: () => void): Promise<void> {
    const previous = this.#previous;
    const done = deferred<void>();
    this.#previous = done.promise;
    const stop = new AbortController();
    const signal = combinedSignal(stop.signal, context.signal, this.#closing.signal);
    const outlet = new Outlet(
      request.port,
      signal,
      () => stop.abort(),
      (buffers) => this.#maker.recycle(buffers),
    );
    const run = new Run(this.#setup, { epoch: request.epoch, position: request.position }, request.until, signal, () => outlet.stalled);
    try {
      await previous;
      for await (const made of run.batches()) {
        this.#tally.skipped += made.batch.skipped.length;
        const stats = this.#stats(run);
        if (!(await outlet.send({ t: "batch", ...made, stats }, made.batch))) break;
      }
    } catch (error) {
      // What an ended run fails with is of no interest to those who ended it.
      if (!signal.aborted) throw error;
    } finally {
      done.resolve();
      ending();
      outlet.end({ t: "end", stats: this.#stats(run) });
      outlet.close();
    }
    this.#closing.signal.throwIfAborted();
  }

  async close(): Promise<void> {
    this.#closing.abort(new MillraceError("MILLRACE_CLOSED", "The loader is closed"));
    await this.#previous;
    await this.#maker.close();
  }

  #stats(run: Run): EngineLoaderStats {
    return {
      bytes: { ...this.#tally.bytes },
      originRequests: this.#tally.originRequests,
      skipped: this.#tally.skipped,
      readAhead: run.readAhead,
    };
  }
}

/** The engine's end of a run's port: batches go out as the caller gives credit. */
class Outlet {
  readonly #port: MessagePort;
  readonly #signal: AbortSignal;
  readonly #stop: () => void;
  readonly #recycle: (buffers: ArrayBuffer[]) => void;
  #credit = 0;
  #wake = deferred<void>();
  #sent = 0;
  /** Batches that the loop had when it last said that it waits for another. */
  #waitsAfter = 0;

  constructor(port: MessagePort, signal: AbortSignal, stop: () => void, recycle: (buffers: ArrayBuffer[]) => void) {
    this.#port = port;
    this.#signal = signal;
    this.#stop = stop;
    this.#recycle = recycle;
    port.on("message", (message: RunControl) => this.#receive(message));
    // A caller that is gone wants nothing any more.
    port.on("close", stop);
    signal.addEventListener("abort", () => this.#wake.resolve(), { once: true });
    // With both ends in one thread, what keeps the process alive is the caller's pending call.
    port.unref();
  }

  /** The loop waits for a batch. For the first one it must. */
  get stalled(): boolean {
    return this.#sent > 0 && this.#waitsAfter === this.#sent;
  }

  /** False where the run has been stopped meanwhile. */
  async send(message: RunMessage, batch: AssembledBatch): Promise<boolean> {
    while (this.#credit === 0 && !this.#signal.aborted) {
      this.#wake = deferred();
      await this.#wake.promise;
    }
    if (this.#signal.aborted) return false;
    this.#credit--;
    this.#sent++;
    // A run that waits for nothing never gets to the event loop: what has come back is taken here, so that the memory used next is the warmest.
    for (let came = receiveMessageOnPort(this.#port); came !== undefined; came = receiveMessageOnPort(this.#port))
      this.#receive(came.message);
    try {
      this.#port.postMessage(message, batchBuffers(batch));
    } catch (cause) {
      const what = `the decoder's json values cannot be sent between threads: ${(cause as Error).message}`;
      throw new MillraceError("MILLRACE_DECODE", what, { cause });
    }
    return true;
  }

  #receive(message: RunControl): void {
    if (message.t === "recycle") this.#recycle(message.buffers);
    else if (message.t === "stop") this.#stop();
    else if (message.t === "waiting") this.#waitsAfter = message.received;
    else {
      this.#credit += message.count;
      this.#wake.resolve();
    }
  }

  end(message: RunMessage): void {
    this.#port.postMessage(message);
  }

  /** What was sent before still arrives. */
  close(): void {
    this.#port.close();
  }
}
