/**
 * Decode workers: each takes one whole batch at a time and hands it back as columns. What a decoder does to its thread (loop for ever,
 * end it, run out of memory) ends that worker only: the sample it was on is named, and where samples may be skipped the batch is done again without it.
 */
import { abortedError, MillraceError, throwIfAborted } from "../errors.js";
import type { AssembledBatch, BatchInput, SkippedSample } from "../loader/assemble.js";
import { BatchMemory } from "../loader/batch-memory.js";
import { RowCursor } from "../loader/batch-rows.js";
import { isSampleFailure, sampleError } from "../loader/sample-error.js";
import { type Deferred, deferred } from "../util/deferred.js";
import type { DecodeSetup } from "./decode-protocol.js";
import { DecodeThread, WorkerDeath } from "./decode-thread.js";

/** Workers that may die in the life of a pool: starting one costs some 150 ms, and a decoder that kills more of them is no decoder. */
const MOST_DEATHS = 100;

export class DecodePool {
  /** Workers at most. */
  readonly width: number;
  readonly #setup: DecodeSetup;
  readonly #threads = new Set<DecodeThread>();
  readonly #idle: DecodeThread[] = [];
  readonly #waiting: Deferred<DecodeThread>[] = [];
  readonly #memory: BatchMemory;
  /** Sizes of the last batch's buffers: what the next one will ask for. */
  #sizes: readonly number[] = [];
  #deaths = 0;
  #closed: Promise<void> | undefined;

  private constructor(width: number, setup: DecodeSetup) {
    this.width = width;
    this.#setup = setup;
    this.#memory = new BatchMemory(setup.recycle);
  }

  /**
   * Starts the workers, and waits for the first: a decoder that cannot be loaded is MILLRACE_CONFIG before any batch is asked for.
   * Idle workers do not keep the process alive.
   */
  static async start(width: number, setup: DecodeSetup, signal?: AbortSignal): Promise<DecodePool> {
    throwIfAborted(signal, "Starting decode workers");
    const pool = new DecodePool(width, setup);
    const abort = (): void => void pool.close();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await pool.#spawn();
      for (let i = 1; i < width; i++) pool.#spawn().catch(() => {});
      return pool;
    } catch (error) {
      await pool.close();
      throwIfAborted(signal, "Starting decode workers");
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Assembles a batch in a worker, or waits for one that is free. The rows' memory is read until the promise settles.
   * Throws as `Assembler.assemble` does, and MILLRACE_CLOSED.
   */
  async decode(input: BatchInput): Promise<AssembledBatch> {
    const without: number[] = [];
    const skipped: SkippedSample[] = [];
    for (;;) {
      const thread = await this.#free(input.signal);
      try {
        const batch = await thread.run(input, without, this.#takeMemory());
        this.#sizes = bufferSizes(batch);
        return skipped.length === 0 ? batch : { ...batch, skipped: [...batch.skipped, ...skipped] };
      } catch (error) {
        if (!(error instanceof WorkerDeath)) throw error;
        const lost = this.#lostRow(error, input);
        without.push(error.row);
        if (error.row < input.rows.count - input.padding) skipped.push(lost);
      } finally {
        this.#back(thread);
      }
    }
  }

  /** Memory of batches that the loop has given back. */
  recycle(buffers: readonly ArrayBuffer[]): void {
    this.#memory.give(buffers);
  }

  /** Ends all workers; batches in the making reject with MILLRACE_CLOSED. Calling it twice waits for the same end. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(closedError());
    await Promise.all(Array.from(this.#threads, (thread) => thread.close()));
  }

  /** The sample that a worker died on, if it may be skipped; else throws. */
  #lostRow({ row, error }: WorkerDeath, input: BatchInput): SkippedSample {
    const lost = row < 0 ? undefined : new RowCursor(input.rows, undefined, row);
    const failure = lost === undefined ? error : sampleError(error, lost, this.#setup.root);
    if (lost === undefined || this.#setup.onError !== "skip" || !isSampleFailure(failure)) throw failure;
    if (this.#deaths >= MOST_DEATHS)
      throw new MillraceError("MILLRACE_DECODE", `${MOST_DEATHS} decode workers have died, the last with: ${failure.message}`, {
        cause: failure,
      });
    return { key: lost.key, index: lost.index, code: failure.code, message: failure.message };
  }

  #takeMemory(): ArrayBuffer[] {
    const given: ArrayBuffer[] = [];
    for (const size of this.#sizes) {
      const buffer = this.#memory.reuse(size);
      if (buffer !== undefined) given.push(buffer);
    }
    return given;
  }

  async #free(signal: AbortSignal | undefined): Promise<DecodeThread> {
    throwIfAborted(signal, "Decoding");
    if (this.#closed !== undefined) throw closedError();
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.dead) return idle;
      // It died between two batches, of something its decoder left running.
      this.#back(idle);
    }
    const waiting = deferred<DecodeThread>();
    this.#waiting.push(waiting);
    const abort = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
      waiting.reject(abortedError(signal!, "Decoding"));
    };
    signal?.addEventListener("abort", abort, { once: true });
    if (this.#threads.size < this.width) this.#spawn().catch(() => {});
    try {
      return await waiting.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  async #spawn(): Promise<void> {
    if (this.#closed !== undefined) throw closedError();
    const thread = new DecodeThread(this.#setup);
    this.#threads.add(thread);
    try {
      await thread.ready;
      this.#back(thread);
    } catch (error) {
      this.#threads.delete(thread);
      // The others may still serve those who wait; without others nobody would.
      if (this.#threads.size === 0) for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
      throw error;
    }
  }

  /** A worker that is free goes to the one who waits longest; one that died is replaced when somebody waits. */
  #back(thread: DecodeThread): void {
    if (thread.dead) {
      this.#threads.delete(thread);
      this.#deaths++;
      if (this.#waiting.length > 0 && this.#closed === undefined) this.#spawn().catch(() => {});
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#idle.push(thread);
    else waiting.resolve(thread);
  }
}

function bufferSizes(batch: AssembledBatch): number[] {
  const sizes: number[] = [];
  for (const column of Object.values(batch.columns))
    if (column.kind !== "values") sizes.push((column.kind === "tensor" ? column.data : column.values).buffer.byteLength);
  return sizes;
}

function closedError(): MillraceError {
  return new MillraceError("MILLRACE_CLOSED", "The loader is closed");
}
