/** Opens stores, each wrapped in what every origin needs: counting, limits, retries. Credentials that are functions are asked of the caller's thread. */
import type { S3Credentials, S3Options } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { EngineConfig, WireS3 } from "../options.js";
import { newCounters, type StoreCounters, withCounters } from "../storage/count.js";
import { Limiter, type LimiterStats, withLimits } from "../storage/limit.js";
import { openStore } from "../storage/open-store.js";
import { withRetry } from "../storage/retry.js";
import type { Store } from "../storage/store.js";
import { combinedSignal } from "../util/combined-signal.js";
import { importExport } from "./module-loading.js";

/** A credentials function that has not answered by then is taken for failed, milliseconds: a slow STS call takes a few seconds. */
const CREDENTIALS_WITHIN_MS = 30_000;

export interface OriginsContext {
  /** Asks the caller's thread. */
  readonly askCredentials: (ask: number, signal: AbortSignal) => Promise<S3Credentials>;
  /** The object is not what was known of it. */
  readonly changed: (store: Store, path: string) => void;
}

export class Origins {
  readonly #config: EngineConfig;
  readonly #context: OriginsContext;
  readonly #limiter: Limiter;
  readonly #counters = newCounters();
  readonly #closing = new AbortController();

  constructor(config: EngineConfig, context: OriginsContext) {
    this.#config = config;
    this.#context = context;
    this.#limiter = new Limiter(config.limits);
  }

  /** The store of a root such as `s3://bucket`. */
  async open(root: string, s3: WireS3 | undefined): Promise<Store> {
    const scheme = root.slice(0, root.indexOf(":"));
    const own = this.#config.stores[scheme];
    // Imported here first, so that a store written in TypeScript finds a loader in this thread.
    if (own !== undefined) await importExport(own.url, own.export, `stores.${scheme}`);
    const store = await openStore(`${root}/`, { s3: this.#s3(s3), stores: this.#config.stores });
    const counters = this.#counters;
    // Limits inside the retries: a try that waits for its turn again holds no place meanwhile.
    const whole = withRetry(withLimits(withCounters(store, counters), this.#limiter), {
      onRetry: () => {
        counters.retries++;
      },
    });
    return { ...whole, readInto: (...read) => whole.readInto(...read).catch((error) => this.#readFailed(error, whole, read[0].path)) };
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

  get limits(): LimiterStats {
    return this.#limiter.stats();
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
