import type { Logger } from "../../api.js";
import { isMillraceError, MillraceError } from "../../errors.js";
import { backoffMs } from "../../util/backoff.js";
import type { Clock } from "../../util/clock.js";
import { type Deferred, deferred } from "../../util/deferred.js";
import { unlessAborted } from "../../util/unless-aborted.js";
import type { Engine, Finding } from "./engine.js";
import type { FoundPeer } from "./found-peer.js";

/** Milliseconds for one look: several times what a slow resolver takes with its second try. */
export const LOOK_LIMIT_MS = 10_000;
/** After a failure; the cap is below the time that announcements live, so that peers that come back together find each other before that. */
const RETRY_BASE_MS = 500;
const RETRY_CAP_MS = 10_000;
/** Milliseconds from an event to the look: a writer that does not rename is still writing then, and others may write beside it all the time. */
export const SETTLE_MS = 250;

/** Figures of one engine. */
export interface EngineFigures {
  /** Its URI without credentials. */
  readonly engine: string;
  /** Peers in its last good list; this process may be one of them. */
  readonly peers: number;
  readonly looks: number;
  /** Looks that failed. */
  readonly failures: number;
  /** True from a failed look to the next that succeeds. */
  readonly failing: boolean;
  /** Entries left out in the last good look. */
  readonly ignored: number;
  /** Of the last failed look or ignored entry, also when it is over. */
  readonly lastError: string | undefined;
}

export interface EngineWatchOptions {
  readonly log: Pick<Logger, "debug" | "info" | "warn">;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Looks at an engine again and again and keeps its last good list. A failure is told once, and once that it is over. */
export class EngineWatch {
  /** Resolves when the first look is over, however it went; rejects where it failed with MILLRACE_CONFIG, or all was closed before. */
  readonly ready: Promise<void>;
  readonly #engine: Engine;
  readonly #found: () => void;
  readonly #options: EngineWatchOptions;
  readonly #ready: Deferred<void> = deferred();
  readonly #closing = new AbortController();
  readonly #unwatch: (() => void) | undefined;
  readonly #ended: Promise<void>;
  /** Ends the present pause. */
  #wake = new AbortController();
  #peers: readonly FoundPeer[] = [];
  #looks = 0;
  #failures = 0;
  #failuresInRow = 0;
  #ignored = 0;
  #lastError: string | undefined;

  /** Begins at once. `found` is called after every good look. */
  constructor(engine: Engine, found: () => void, options: EngineWatchOptions) {
    this.#engine = engine;
    this.#found = found;
    this.#options = options;
    this.ready = this.#ready.promise;
    this.ready.catch(() => {}); // Who does not wait for it has the log and the figures.
    this.#unwatch = engine.watch?.(() => this.#wake.abort());
    this.#ended = this.#run();
  }

  get peers(): readonly FoundPeer[] {
    return this.#peers;
  }

  figures(): EngineFigures {
    return {
      engine: this.#engine.name,
      peers: this.#peers.length,
      looks: this.#looks,
      failures: this.#failures,
      failing: this.#failuresInRow > 0,
      ignored: this.#ignored,
      lastError: this.#lastError,
    };
  }

  /** Idempotent. The last list stays. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort();
      this.#unwatch?.();
      this.#wake.abort();
    }
    await this.#ended;
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const waitMs = await this.#lookOnce();
      if (waitMs === undefined) break;
      await this.#pause(waitMs);
    }
    this.#ready.reject(new MillraceError("MILLRACE_CLOSED", `${this.#engine.name}: closed before its first answer`));
    await this.#engine.close?.();
  }

  /** How long to wait for the next look, in milliseconds; undefined where there shall be none. */
  async #lookOnce(): Promise<number | undefined> {
    this.#looks++;
    try {
      const finding = await this.#find();
      this.#succeeded(finding);
      this.#ready.resolve();
      return finding.againMs;
    } catch (error) {
      if (this.#closing.signal.aborted) return undefined;
      this.#failed(error);
      if (isMillraceError(error, "MILLRACE_CONFIG")) {
        this.#ready.reject(error);
        return undefined;
      }
      this.#ready.resolve();
      return backoffMs(this.#failuresInRow, RETRY_BASE_MS, RETRY_CAP_MS, this.#options.random);
    }
  }

  /** One look, given up after LOOK_LIMIT_MS also where the engine does not heed its signal. */
  async #find(): Promise<Finding> {
    const look = new AbortController();
    const timer = new AbortController();
    const close = () => look.abort();
    this.#closing.signal.addEventListener("abort", close);
    this.#options.clock.sleep(LOOK_LIMIT_MS, timer.signal).then(close, () => {});
    try {
      return await unlessAborted(this.#engine.find(look.signal), look.signal, this.#engine.name);
    } catch (error) {
      if (!look.signal.aborted) throw error;
      throw new MillraceError("MILLRACE_TIMEOUT", `${this.#engine.name}: no answer in ${LOOK_LIMIT_MS / 1000} s`, { cause: error });
    } finally {
      timer.abort();
      this.#closing.signal.removeEventListener("abort", close);
    }
  }

  #succeeded({ peers, ignored = [] }: Finding): void {
    const { log } = this.#options;
    const fields = { engine: this.#engine.name, peers: peers.length };
    if (this.#failuresInRow > 0) log.info(fields, `${this.#engine.name} answers again: ${peers.length} peers`);
    if (ignored.length > 0) this.#lastError = ignored.at(-1);
    if (ignored.length > 0 && this.#ignored === 0) log.warn({ ...fields, ignored: ignored.length }, `left out: ${ignored.join("; ")}`);
    this.#failuresInRow = 0;
    this.#ignored = ignored.length;
    this.#peers = peers;
    this.#found();
  }

  #failed(error: unknown): void {
    this.#failures++;
    this.#failuresInRow++;
    this.#lastError = (error as Error).message;
    const message = `${this.#lastError}; the last list of ${this.#peers.length} peers stays in use`;
    this.#options.log[this.#failuresInRow === 1 ? "warn" : "debug"]({ engine: this.#engine.name, failures: this.#failures }, message);
  }

  async #pause(ms: number): Promise<void> {
    const { clock } = this.#options;
    await clock.sleep(ms, this.#wake.signal).catch(() => {});
    if (!this.#wake.signal.aborted || this.#closing.signal.aborted) return;
    await clock.sleep(SETTLE_MS, this.#closing.signal).catch(() => {});
    // Not before the look: a change that comes while it runs ends the next pause at once.
    this.#wake = new AbortController();
  }
}
