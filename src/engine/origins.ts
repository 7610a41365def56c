/** Opens stores, each wrapped in what every origin needs: counting, hedges, limits at the origin's pace, retries. Credentials that are functions are asked of the caller's thread. */
import type { S3Credentials, S3Options } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { EngineConfig, WireS3 } from "../options.js";
import { newCounters, type StoreCounters, withCounters } from "../storage/count.js";
import { Hedger, withHedge } from "../storage/hedge.js";
import { Limiter, type LimiterStats, withLimits } from "../storage/limit.js";
import { openStore } from "../storage/open-store.js";
import type { OriginStore, PaceStats } from "../storage/origin-store.js";
import { Pace } from "../storage/pace.js";
import { Proxies } from "../storage/proxies.js";
import type { RangeGetter } from "../storage/range-answer.js";
import { withRetry } from "../storage/retry.js";
import { warmSdk } from "../storage/sdk-warm.js";
import type { Store } from "../storage/store.js";
import { combinedSignal } from "../util/combined-signal.js";
import { importExport } from "./module-loading.js";

/** A credentials function that has not answered by then is taken for failed, milliseconds: a slow STS call takes a few seconds. */
const CREDENTIALS_WITHIN_MS = 30_000;
/** Schemes whose built-in stores ask the claim before they write, over a network that has late answers. */
const HEDGED: ReadonlySet<string> = new Set(["s3", "http", "https"]);

export interface OriginsContext {
  /** Asks the caller's thread. */
  readonly askCredentials: (ask: number, signal: AbortSignal) => Promise<S3Credentials>;
  /** Sends the ranged GETs. Default: a client for each store. */
  readonly ranges: RangeGetter | undefined;
  /** The object is not what was known of it. */
  readonly changed: (store: Store, path: string) => void;
  readonly log: (level: string, fields: object, message: string) => void;
}

/** Loads what the configured origins will need, so that the first dataset need not wait for it: the AWS SDK takes some 150 ms. */
export async function preloadStores({ s3, mounts }: EngineConfig): Promise<void> {
  if (s3 !== undefined || mounts.some(({ uri }) => uri.startsWith("s3:"))) await warmSdk();
}

/** Levels of all origins together. */
export interface OriginLimits extends LimiterStats, Pick<PaceStats, "concurrency" | "slowDowns"> {}

export class Origins {
  readonly #config: EngineConfig;
  readonly #context: OriginsContext;
  readonly #limiter: Limiter;
  readonly #paces: Pace[] = [];
  readonly #counters = newCounters();
  readonly #closing = new AbortController();
  readonly #proxies = new Proxies(process.env);

  constructor(config: EngineConfig, context: OriginsContext) {
    this.#config = config;
    this.#context = context;
    this.#limiter = new Limiter(config.limits);
  }

  /** The store of a root such as `s3://bucket`. */
  async open(root: string, s3: WireS3 | undefined): Promise<OriginStore> {
    const scheme = root.slice(0, root.indexOf(":"));
    const own = this.#config.stores[scheme];
    // Imported here first, so that a store written in TypeScript finds a loader in this thread.
    if (own !== undefined) await importExport(own.url, own.export, `stores.${scheme}`);
    const store = await openStore(`${root}/`, {
      s3: this.#s3(s3),
      stores: this.#config.stores,
      ranges: this.#context.ranges,
      proxies: this.#proxies,
      log: this.#context.log,
    });
    const counters = this.#counters;
    const counted = withCounters(store, counters);
    const { hedge } = this.#config.limits;
    const hedging = hedge > 0 && own === undefined && HEDGED.has(scheme);
    const pace = new Pace({ ceiling: this.#config.limits.concurrency });
    this.#paces.push(pace);
    const hedged = hedging ? withHedge(counted, new Hedger(counters, hedge, pace)) : counted;
    // Limits inside the retries: a try that waits for its turn again holds no place meanwhile.
    const whole = withRetry(withLimits(hedged, this.#limiter, pace), {
      onRetry: () => {
        counters.retries++;
      },
    });
    return {
      ...whole,
      pace: () => pace.stats(),
      readInto: (...read) => whole.readInto(...read).catch((error) => this.#readFailed(error, whole, read[0].path)),
    };
  }

  /** Nobody is asked for credentials any more, and who has been asked is not waited for. */
  close(): void {
    this.#closing.abort();
  }

  #readFailed(error: unknown, store: Store, path: string): never {
    // What was known of the object led here: the next who asks must not be told it again.
    if (isMillraceError(error, "MILLRACE_CHANGED") || isMillraceError(error, "MILLRACE_NOT_FOUND")) this.#context.changed(store, path);
    throw error;
  }

  async #credentials(ask: number): Promise<S3Credentials> {
    const timeUp = new AbortController();
    const timer = setTimeout(() => timeUp.abort(), CREDENTIALS_WITHIN_MS);
    try {
      return await this.#context.askCredentials(ask, combinedSignal(timeUp.signal, this.#closing.signal));
    } catch (error) {
      if (this.#closing.signal.aborted) throw new MillraceError("MILLRACE_CLOSED", "The mill is closed", { cause: error });
      if (!timeUp.signal.aborted) throw error;
      const message = `s3.credentials: the function has not answered within ${CREDENTIALS_WITHIN_MS / 1000} s`;
      throw new MillraceError("MILLRACE_TIMEOUT", message, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  get counters(): StoreCounters {
    return this.#counters;
  }

  get limits(): OriginLimits {
    const busy = this.#paces.filter((pace) => pace.busy);
    // Between requests, what was found so far.
    const asked = busy.length === 0 ? this.#paces : busy;
    const places = asked.reduce((total, pace) => total + pace.concurrency, 0);
    const slowDowns = this.#paces.reduce((total, pace) => total + pace.stats().slowDowns, 0);
    return { ...this.#limiter.stats(), concurrency: Math.min(this.#limiter.concurrency, places), slowDowns };
  }

  /** The limits are for so many processes together. */
  divide(processes: number): void {
    this.#limiter.divide(processes);
  }

  /** What a span costs the origin that is slowest of those in use, milliseconds; undefined before anything was measured. */
  get spanMs(): number | undefined {
    const costs = this.#paces.flatMap((pace) => {
      const { latencyMs, spanBytes, connectionBytesPerSecond } = pace.stats();
      return latencyMs === undefined ? [] : latencyMs + (connectionBytesPerSecond ? (spanBytes / connectionBytesPerSecond) * 1000 : 0);
    });
    return costs.length === 0 ? undefined : Math.max(...costs);
  }

  #s3(s3: WireS3 | undefined): S3Options | undefined {
    if (s3 === undefined) return undefined;
    const { credentials, ...rest } = s3;
    return {
      ...rest,
      credentials: credentials !== undefined && "ask" in credentials ? () => this.#credentials(credentials.ask) : credentials,
    };
  }
}
