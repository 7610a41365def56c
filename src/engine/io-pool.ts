/**
 * I/O threads: over TLS one thread deciphers 0.4 to 1 GB/s, so the connections of ranged GETs are spread over several. What is signed, limited,
 * retried, hedged and claimed stays with the engine; a thread gets one request, asks whether the head will do, and fills the request's slots.
 */
import type { HttpTimeouts } from "../storage/http-timeouts.js";
import type { RangeAnswer, RangeGetter } from "../storage/range-answer.js";
import { RangeClient } from "../storage/range-client.js";
import { IoThread } from "./io-thread.js";

/** Threads that may die in the life of a pool; after that the engine's thread does the work alone. One such death is strange enough. */
const MOST_DEATHS = 8;

/**
 * A smaller read costs this thread more to hand over (55 to 100 µs) than to do: 45 to 60 µs up to 110 KB, 100 at 256 KiB, over TLS 105 and 190.
 */
const LEAST_BYTES = 256 * 1024;

type Log = (level: "debug" | "warn", fields: object, message: string) => void;

/** Sends ranged GETs from several threads. */
export class IoPool implements RangeGetter {
  readonly #width: number;
  readonly #timeouts: HttpTimeouts;
  readonly #log: Log;
  readonly #threads = new Set<IoThread>();
  /** For small reads, for memory that cannot be shared, and for want of threads. */
  readonly #local: RangeClient;
  #deaths = 0;
  #closed: Promise<void> | undefined;

  /** The threads are started at the first request that needs one. */
  constructor(threads: number, log: Log, timeouts: HttpTimeouts = {}) {
    this.#width = threads;
    this.#log = log;
    this.#timeouts = timeouts;
    this.#local = new RangeClient(timeouts);
  }

  async get(answer: RangeAnswer, signal: AbortSignal | undefined): ReturnType<RangeGetter["get"]> {
    if (this.#closed !== undefined) throw answer.error("MILLRACE_CLOSED", "the store was closed");
    const pays = answer.missing >= LEAST_BYTES && answer.targets.every(({ buffer }) => buffer instanceof SharedArrayBuffer);
    return ((pays ? this.#thread() : undefined) ?? this.#local).get(answer, signal);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await Promise.all([this.#local.close(), ...Array.from(this.#threads, (thread) => thread.close())]);
  }

  /** The thread with the least to do. */
  #thread(): IoThread | undefined {
    if (this.#threads.size < this.#width && this.#deaths < MOST_DEATHS) this.#start();
    let least: IoThread | undefined;
    for (const thread of this.#threads) if (least === undefined || thread.bytesInFlight < least.bytesInFlight) least = thread;
    return least;
  }

  #start(): void {
    const missing = this.#width - this.#threads.size;
    for (let i = 0; i < missing; i++) {
      const thread = new IoThread(this.#timeouts, (cause) => this.#lost(thread, cause));
      this.#threads.add(thread);
    }
    this.#log("debug", {}, `${missing} I/O threads have started`);
  }

  #lost(thread: IoThread, cause: Error | undefined): void {
    this.#threads.delete(thread);
    if (this.#closed !== undefined) return;
    const deaths = ++this.#deaths;
    const next = deaths < MOST_DEATHS ? "another takes its place" : "no other is started";
    this.#log("warn", { deaths, error: cause?.message }, `An I/O thread has ended; its reads are tried again, ${next}`);
  }
}
