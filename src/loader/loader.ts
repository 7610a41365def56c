/** The loader on the caller's side: places, states and statistics. The reading itself is the engine's (`run.ts`). */
import type { Epoch, Fields, Loader, LoaderOptions, LoaderState, LoaderStats, Batch as PublicBatch } from "../api.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import type { OrderSpec } from "../order/spec.js";
import { type StepPlan, stepPlan } from "../order/steps.js";
import { combinedSignal } from "../util/combined-signal.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { Batch } from "./batch.js";
import { BatchStream } from "./batch-stream.js";
import type { LoaderConfig } from "./loader-options.js";
import { type BatchMessage, type EngineClient, NO_STATS, type OpenLoader } from "./protocol.js";
import { checkResume, loaderState, type Place } from "./state.js";
import { WaitStats } from "./wait-stats.js";

export interface LoaderSetup {
  readonly engine: EngineClient;
  readonly open: Omit<OpenLoader, "loaderId">;
  readonly order: OrderSpec;
  readonly sampleCount: number;
  readonly fingerprint: string;
  /** Fields of the batches: the decoder's output, or the dataset's. */
  readonly fields: Fields;
  readonly key: (index: number) => string;
}

/** Numbers of this process's loaders: the caller chooses them. */
let nextLoaderId = 1;

interface OpenStream {
  readonly stream: BatchStream;
  readonly until: number;
  /** The epoch that it goes on with; undefined while an iteration takes its batches. */
  nextEpoch: number | undefined;
}

export class DatasetLoader<F> implements Loader<F> {
  readonly stepsPerEpoch: number;
  readonly #setup: LoaderSetup;
  readonly #config: LoaderConfig;
  readonly #signal: AbortSignal | undefined;
  readonly #waits = new WaitStats();
  #resumed: Place | undefined;
  #place: Place = { epoch: 0, position: 0 };
  #loaderId: Promise<number> | undefined;
  #current: OpenStream | undefined;
  #ended: Promise<void> = Promise.resolve();
  #engineStats = NO_STATS;
  #batches = 0;
  #samples = 0;
  readonly #closing = new AbortController();

  constructor(setup: LoaderSetup, options: LoaderOptions) {
    this.#setup = setup;
    this.#config = setup.open.config;
    this.#signal = options.signal;
    this.stepsPerEpoch = this.#plan(0).steps;
    if (this.stepsPerEpoch === 0) throw this.#noSteps();
    if (this.#config.stepsPerEpoch !== undefined && this.#config.stepsPerEpoch > this.stepsPerEpoch)
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `stepsPerEpoch: ${this.#config.stepsPerEpoch} is more than the ${this.stepsPerEpoch} steps of an epoch`,
      );
    if (options.resume !== undefined) {
      this.#place = checkResume(options.resume, setup.fingerprint, setup.order.id, setup.sampleCount);
      this.#resumed = this.#place;
    }
  }

  get position(): { readonly epoch: number; readonly step: number } {
    return { epoch: this.#place.epoch, step: this.#plan(this.#place.position).firstStep };
  }

  epoch(n: number, options: { signal?: AbortSignal | undefined } = {}): Epoch<F> {
    if (!Number.isSafeInteger(n) || n < 0) throw new MillraceError("MILLRACE_CONFIG", `epoch: expected a number from 0, got ${n}`);
    if (this.#resumed !== undefined && this.#resumed.epoch !== n)
      throw new MillraceError(
        "MILLRACE_RESUME",
        `The state to resume from stands in epoch ${this.#resumed.epoch}; ask for that epoch first, not for ${n}, or use loader.epochs(until)`,
      );
    const position = this.#resumed?.position ?? 0;
    return this.#epochFrom({ epoch: n, position }, n + 1, options.signal);
  }

  *epochs(until: number): Generator<Epoch<F>, void, undefined> {
    if (!(until >= 0)) throw new MillraceError("MILLRACE_CONFIG", `epochs: until: expected a number from 0, got ${until}`);
    let place = this.#place;
    try {
      while (place.epoch < until) {
        yield this.#epochFrom(place, until, undefined);
        place = { epoch: place.epoch + 1, position: 0 };
      }
    } finally {
      // Left early: nobody takes the batches that were read ahead for the next epoch.
      if (this.#current?.nextEpoch !== undefined) this.#stop();
    }
  }

  state(): LoaderState {
    return this.#stateAt(this.#place);
  }

  stats(): LoaderStats {
    return {
      stallRatio: this.#waits.stallRatio,
      batches: this.#batches,
      samples: this.#samples,
      ...this.#engineStats,
      waitMs: this.#waits.waitMs,
    };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#stop();
    await this.#ended;
    const id = await this.#loaderId?.catch(() => undefined);
    if (id !== undefined) await this.#closeAtEngine(id);
    this.#loaderId = undefined;
  }

  /** The engine's number for this loader; opened at the first use, which checks the decoder. For prefetching an epoch. */
  async engineId(): Promise<number> {
    this.#checkOpen();
    this.#loaderId ??= this.#openAtEngine(nextLoaderId++);
    try {
      return await this.#loaderId;
    } finally {
      this.#checkOpen();
    }
  }

  async #openAtEngine(loaderId: number): Promise<number> {
    const signal = combinedSignal(this.#signal, this.#closing.signal);
    try {
      await this.#setup.engine.call("openLoader", { ...this.#setup.open, loaderId } satisfies OpenLoader, { signal });
      return loaderId;
    } catch (error) {
      // A failed start is forgotten, so that the next use tries again.
      this.#loaderId = undefined;
      await this.#closeAtEngine(loaderId);
      if ((error as Error).name !== "DataCloneError") throw error;
      throw new MillraceError("MILLRACE_CONFIG", `decodeArgs: cannot be sent to another thread: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async #closeAtEngine(loaderId: number): Promise<void> {
    await this.#setup.engine.call("closeLoader", loaderId).catch(() => {}); // The mill may be closed already.
  }

  #checkOpen(): void {
    if (this.#closing.signal.aborted) throw new MillraceError("MILLRACE_CLOSED", "The loader is closed");
  }

  /** True for a loader of the mill whose engine this is. */
  isOf(engine: EngineClient): boolean {
    return this.#setup.engine === engine;
  }

  #epochFrom(place: Place, until: number, signal: AbortSignal | undefined): Epoch<F> {
    const plan = this.#plan(place.position);
    return {
      number: place.epoch,
      steps: plan.steps,
      firstStep: plan.firstStep,
      [Symbol.asyncIterator]: () => this.#iterate(place, until, signal),
    };
  }

  async *#iterate(place: Place, until: number, signal: AbortSignal | undefined): AsyncGenerator<PublicBatch<F>, void, undefined> {
    const either = signal !== undefined && this.#signal !== undefined ? combinedSignal(signal, this.#signal) : (signal ?? this.#signal);
    throwIfAborted(either, "Iteration");
    const nextEpoch = { epoch: place.epoch + 1, position: 0 };
    const plan = this.#plan(place.position);
    const empty = plan.firstStep >= plan.steps; // A resumed epoch may have no step left for this rank.
    const current = empty ? undefined : await this.#open(place, until, either);
    this.#resumed = undefined;
    let whole = empty;
    try {
      while (current !== undefined && !whole) {
        const asked = performance.now();
        const message = await current.stream.next(either);
        if (message === undefined) throw new MillraceError("MILLRACE_CLOSED", "The engine ended the run before its epoch was whole");
        this.#waits.add(asked, performance.now());
        whole = message.last;
        if (whole) current.nextEpoch = nextEpoch.epoch;
        yield this.#deliver(message, current.stream);
        throwIfAborted(either, "Iteration");
      }
      this.#place = nextEpoch;
    } finally {
      // The stream goes on into the next epoch where the caller said how far it will go.
      if (current !== undefined && (!whole || nextEpoch.epoch >= current.until)) this.#stop(current);
    }
  }

  #deliver(message: BatchMessage, stream: BatchStream): PublicBatch<F> {
    this.#place = message.next;
    this.#batches++;
    this.#samples += message.batch.size;
    return new Batch<F>(message.batch, {
      epoch: message.epoch,
      step: message.step,
      fields: this.#setup.fields,
      state: this.#stateAt(message.next),
      key: this.#setup.key,
      recycle: this.#config.recycle ? (buffers) => stream.recycle(buffers) : undefined,
    });
  }

  async #open(place: Place, until: number, signal: AbortSignal | undefined): Promise<OpenStream> {
    const loaderId = await unlessAborted(this.engineId(), signal, "Iteration");
    const current = this.#current;
    if (current !== undefined && current.until === until && current.nextEpoch === place.epoch && place.position === 0) {
      current.nextEpoch = undefined;
      return current;
    }
    this.#stop();
    const stream = new BatchStream(this.#setup.engine, { loaderId, ...place, until }, (stats) => {
      this.#engineStats = stats;
    });
    this.#ended = Promise.all([this.#ended, stream.ended]).then(() => {});
    this.#current = { stream, until, nextEpoch: undefined };
    return this.#current;
  }

  #stop(only?: OpenStream): void {
    if (only !== undefined && only !== this.#current) return;
    this.#current?.stream.stop();
    this.#current = undefined;
  }

  #plan(fromPosition: number): StepPlan {
    const { batchSize, worldSize, rank, remainder, stepsPerEpoch } = this.#config;
    return stepPlan({ sampleCount: this.#setup.sampleCount, batchSize, worldSize, rank, remainder, fromPosition, stepsPerEpoch });
  }

  #stateAt(place: Place): LoaderState {
    return loaderState(this.#setup.fingerprint, this.#setup.order.id, place);
  }

  #noSteps(): MillraceError {
    const { batchSize, worldSize } = this.#config;
    return new MillraceError(
      "MILLRACE_CONFIG",
      `batchSize: ${this.#setup.sampleCount} samples make no whole step of ${worldSize} × ${batchSize}; use remainder "pad" or "keep", or a smaller batchSize`,
    );
  }
}
