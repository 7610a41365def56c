/** The engine's hold on one I/O thread. */
import type { Worker } from "node:worker_threads";
import { abortedError, throwIfAborted } from "../errors.js";
import type { HttpTimeouts } from "../storage/http-timeouts.js";
import type { Outcome, RangeAnswer } from "../storage/range-answer.js";
import { redactUri } from "../storage/uri.js";
import { type Deferred, deferred } from "../util/deferred.js";
import type { FromIoThread, IoEnd, IoHead, IoThreadData, ToIoThread } from "./io-protocol.js";
import { SOURCE_EXTENSION, startWorker } from "./module-loading.js";
import { fromWireError } from "./wire-error.js";

type Result = Exclude<Outcome, "stale">;

/** MB. It holds heads of responses and little else: 10 MB resident at rest, 13 at work over TLS. */
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const;
/** A thread that does not end by itself within this time is ended, milliseconds: closing sockets takes one turn. */
const EXIT_WITHIN_MS = 5_000;

interface Job extends Deferred<Result> {
  readonly answer: RangeAnswer;
  /** Why the engine has given it up; the thread may still be writing. */
  failure: Error | undefined;
}

export class IoThread {
  /** Resolves when the thread is gone. */
  readonly exited: Promise<void>;
  readonly #worker: Worker;
  readonly #jobs = new Map<number, Job>();
  #lastId = 0;
  #bytesInFlight = 0;
  #cause: Error | undefined;

  /** `onExit` is called when the thread is gone, before its requests fail, with the error that ended it where there was one. */
  constructor(timeouts: HttpTimeouts, onExit: (cause: Error | undefined) => void) {
    const workerData: IoThreadData = { millrace: "io", timeouts };
    const entry = new URL(`./io-worker${SOURCE_EXTENSION}`, import.meta.url);
    this.#worker = startWorker(entry, { workerData, name: "millrace-io", resourceLimits: LIMITS });
    this.#worker.unref();
    this.#worker.on("message", (message: FromIoThread) => this.#receive(message));
    this.#worker.on("error", (cause) => {
      this.#cause = cause;
    });
    this.exited = new Promise((resolve) => {
      this.#worker.once("exit", () => {
        onExit(this.#cause);
        this.#died();
        resolve();
      });
    });
  }

  /** Bytes asked for by the requests under way. */
  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  /** As RangeGetter's `get`. The targets must lie on shared memory. MILLRACE_UNAVAILABLE where the thread dies. */
  async get(answer: RangeAnswer, signal: AbortSignal | undefined): Promise<Result> {
    throwIfAborted(signal, "The read");
    const id = ++this.#lastId;
    const job: Job = { ...deferred<Result>(), answer, failure: undefined };
    const abort = (): void => this.#giveUp(id, job, abortedError(signal!, `The read of ${redactUri(answer.request.uri)}`));
    const bytes = answer.missing;
    const { uri, origin, path, headers, range } = answer.request;
    this.#post({ t: "get", id, call: { uri, origin, path, headers, range }, targets: answer.targets });
    this.#jobs.set(id, job);
    this.#bytesInFlight += bytes;
    // A read under way keeps its thread, and so the process, alive.
    this.#worker.ref();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await job.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#bytesInFlight -= bytes;
      if (this.#jobs.size === 0) this.#worker.unref();
    }
  }

  /** Requests under way fail with MILLRACE_CLOSED. Resolves when the thread is gone. */
  async close(): Promise<void> {
    for (const [id, job] of this.#jobs) this.#giveUp(id, job, job.answer.error("MILLRACE_CLOSED", "the store was closed"));
    this.#post({ t: "close" });
    this.#worker.ref();
    const late = setTimeout(() => void this.#worker.terminate(), EXIT_WITHIN_MS);
    await this.exited;
    clearTimeout(late);
  }

  #post(message: ToIoThread): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromIoThread): void {
    const job = this.#jobs.get(message.id)!;
    if (message.t === "head") this.#judge(message, job);
    else this.#end(message, job);
  }

  #judge({ id, status, headers }: IoHead, job: Job): void {
    if (job.failure !== undefined) return;
    try {
      const verdict = job.answer.head(status, headers);
      this.#post({ t: "verdict", id, verdict });
    } catch (error) {
      this.#giveUp(id, job, error as Error);
    }
  }

  #end({ id, received, result }: IoEnd, { answer, failure, resolve, reject }: Job): void {
    this.#jobs.delete(id);
    answer.landed(received);
    if (failure !== undefined) reject(failure);
    else if ("error" in result) reject(fromWireError(result.error));
    else resolve(result.outcome);
  }

  /** The thread ends the request; only then it has failed. */
  #giveUp(id: number, job: Job, failure: Error): void {
    if (job.failure !== undefined) return;
    job.failure = failure;
    this.#post({ t: "abort", id });
  }

  #died(): void {
    const said = `its I/O thread has died${this.#cause === undefined ? "" : ` (${this.#cause.message})`}`;
    for (const { answer, failure, reject } of this.#jobs.values()) reject(failure ?? answer.error("MILLRACE_UNAVAILABLE", said));
    this.#jobs.clear();
  }
}
