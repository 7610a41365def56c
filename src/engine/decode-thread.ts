/**
 * One decode worker, seen from the engine: starts it, has it assemble a batch, watches that it gets on, and notes where it died.
 * The records' memory is the worker's to read until a job's promise has settled: after a message from it, or after its end.
 */
import type { Worker } from "node:worker_threads";
import { abortedError, MillraceError } from "../errors.js";
import type { AssembledBatch, BatchInput } from "../loader/assemble.js";
import { timeoutError } from "../loader/settled.js";
import { type Deferred, deferred } from "../util/deferred.js";
import {
  ABORTED_JOB,
  AT_ROW,
  type DecodeSetup,
  type DecodeWorkerData,
  type FromDecodeWorker,
  packRows,
  type ToDecodeWorker,
} from "./decode-protocol.js";
import { SOURCE_EXTENSION, startWorker } from "./module-loading.js";
import { fromWireError } from "./wire-error.js";

/** A module that takes longer to import waits for something that does not come. */
const START_TIMEOUT_MS = 60_000;
/** A worker that is told to give up a batch ends its sample first, if that is soon; else it is ended. */
const ABORT_GRACE_MS = 500;
/** The watch looks this many times within the time a sample may take, but every 5 ms to 1 s. */
const LOOKS_PER_TIMEOUT = 8;
/** Promises are timed inside the worker; the watch is for what never returns, and lets the worker have its say first. */
const WATCH_GRACE_MS = 250;

/** MB. A decoder's garbage, copies of records among it, is kept up to about this size; with V8's default a worker takes 17 MB more. */
const LIMITS = { maxYoungGenerationSizeMb: 8 } as const;

/** The worker died, or was ended, while it worked on a row: −1 before the first. */
export class WorkerDeath extends Error {
  readonly row: number;
  readonly error: MillraceError;
  constructor(row: number, error: MillraceError) {
    super(error.message);
    this.row = row;
    this.error = error;
  }
}

interface RunningJob extends Deferred<AssembledBatch> {
  readonly id: number;
  readonly signal: AbortSignal | undefined;
}

export class DecodeThread {
  /** Settles when the worker can take jobs. Rejects with MILLRACE_CONFIG where it cannot start. */
  readonly ready: Promise<void>;
  readonly #exited: Promise<void>;
  readonly #worker: Worker;
  readonly #timeoutMs: number;
  readonly #place: Int32Array = new Int32Array(new SharedArrayBuffer(8));
  readonly #start: Deferred<void> = deferred<void>();
  #job: RunningJob | undefined;
  #jobs = 0;
  #dead = false;
  /** Why it was ended, or what its last error was. */
  #cause: MillraceError | undefined;

  constructor(setup: DecodeSetup) {
    this.#timeoutMs = setup.timeoutMs;
    this.#worker = startDecodeWorker({ millrace: "decode", setup, progress: this.#place.buffer as SharedArrayBuffer });
    this.#worker.on("message", (message: FromDecodeWorker) => this.#receive(message));
    this.#worker.on("error", (cause) => {
      this.#cause ??= new MillraceError("MILLRACE_DECODE", `the decode worker died of an uncaught error: ${cause.message}`, { cause });
    });
    const exited = deferred<void>();
    this.#exited = exited.promise;
    this.#worker.on("exit", (code) => {
      this.#end(code);
      exited.resolve();
    });
    const late = setTimeout(
      () =>
        this.#kill(
          new MillraceError(
            "MILLRACE_CONFIG",
            `decode: ${setup.decoder.url} was not imported within ${START_TIMEOUT_MS} ms; does it wait for something at its top level?`,
          ),
        ),
      START_TIMEOUT_MS,
    );
    this.ready = this.#start.promise.finally(() => clearTimeout(late));
    this.ready.catch(() => {});
  }

  /** It has ended, or is about to. */
  get dead(): boolean {
    return this.#dead || this.#cause !== undefined;
  }

  /** Assembles a batch; one at a time. Rejects with WorkerDeath where the worker did not survive it. `memory` is handed over. */
  async run(input: BatchInput, without: readonly number[], memory: ArrayBuffer[]): Promise<AssembledBatch> {
    const { signal } = input;
    const job: RunningJob = { ...deferred<AssembledBatch>(), id: ++this.#jobs, signal };
    this.#job = job;
    Atomics.store(this.#place, AT_ROW, -1);
    const { packed, transfer } = packRows(input.rows);
    this.#worker.ref();
    const watch = this.#watch();
    let grace: NodeJS.Timeout | undefined;
    const abort = (): void => {
      Atomics.store(this.#place, ABORTED_JOB, job.id);
      this.#post({ t: "abort", id: job.id });
      grace = setTimeout(() => this.#kill(abortedError(signal!, "Decoding")), ABORT_GRACE_MS);
    };
    try {
      this.#post({ t: "job", id: job.id, epoch: input.epoch, padding: input.padding, rows: packed, without, memory }, [
        ...transfer,
        ...memory,
      ]);
      signal?.addEventListener("abort", abort, { once: true });
      return await job.promise;
    } finally {
      this.#job = undefined;
      clearInterval(watch);
      clearTimeout(grace);
      signal?.removeEventListener("abort", abort);
      this.#worker.unref();
    }
  }

  /** Ends the worker, whatever it is at; resolves when it has ended. */
  async close(): Promise<void> {
    this.#kill(new MillraceError("MILLRACE_CLOSED", "The loader is closed"));
    await this.#exited;
  }

  #post(message: ToDecodeWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #kill(why: MillraceError): void {
    this.#cause ??= why;
    void this.#worker.terminate();
  }

  /** Ends the worker when it has been on one row for too long; a decoder that loops for ever hears nothing else. */
  #watch(): NodeJS.Timeout {
    let row = -2;
    let since = 0;
    const look = (): void => {
      const now = performance.now();
      const at = Atomics.load(this.#place, AT_ROW);
      if (at !== row) {
        row = at;
        since = now;
      } else if (now - since > this.#timeoutMs + WATCH_GRACE_MS) this.#kill(timeoutError(this.#timeoutMs));
    };
    return setInterval(look, Math.min(1000, Math.max(5, this.#timeoutMs / LOOKS_PER_TIMEOUT)));
  }

  #receive(message: FromDecodeWorker): void {
    if (message.t === "ready") {
      this.#worker.unref();
      this.#start.resolve();
    } else if (message.t === "failed") {
      this.#kill(fromWireError(message.error) as MillraceError);
    } else if (message.id === this.#job?.id) {
      if (message.t === "done") this.#job.resolve(message.batch);
      else this.#job.reject(this.#job.signal?.aborted ? abortedError(this.#job.signal, "Decoding") : fromWireError(message.error));
    }
  }

  #end(code: number): void {
    this.#dead = true;
    const error =
      this.#cause ??
      new MillraceError("MILLRACE_DECODE", `the decode worker ended by itself with code ${code}; a decoder must not end its thread`);
    this.#start.reject(
      error.code === "MILLRACE_DECODE"
        ? new MillraceError("MILLRACE_CONFIG", `decode: the decoder's module ended its worker: ${error.message}`, { cause: error.cause })
        : error,
    );
    this.#job?.reject(new WorkerDeath(Atomics.load(this.#place, AT_ROW), error));
  }
}

function startDecodeWorker(workerData: DecodeWorkerData): Worker {
  try {
    return startWorker(new URL(`./decode-worker${SOURCE_EXTENSION}`, import.meta.url), {
      workerData,
      name: "millrace-decode",
      resourceLimits: LIMITS,
    });
  } catch (cause) {
    throw new MillraceError("MILLRACE_CONFIG", `decodeArgs: no decode worker could be started with them: ${(cause as Error).message}`, {
      cause,
    });
  }
}
