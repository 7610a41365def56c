/** Opens stores, each wrapped in what every origin needs: counting, limits, retries. Credentials that are functions are asked of the caller's thread. */
import type { S3Credentials, S3Options } from "../api.js";
import type { EngineConfig, WireS3 } from "../options.js";
import { newCounters, type StoreCounters, withCounters } from "../storage/count.js";
import { Limiter, type LimiterStats, withLimits } from "../storage/limit.js";
import { openStore } from "../storage/open-store.js";
import { withRetry } from "../storage/retry.js";
import type { Store } from "../storage/store.js";
import { importExport } from "./module-loading.js";

export class Origins {
  readonly #config: EngineConfig;
  readonly #askCredentials: (ask: number) => Promise<S3Credentials>;
  readonly #limiter: Limiter;
  readonly #counters = newCounters();

  constructor(config: EngineConfig, askCredentials: (ask: number) => Promise<S3Credentials>) {
    this.#config = config;
    this.#askCredentials = askCredentials;
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
    return withRetry(withLimits(withCounters(store, counters), this.#limiter), {
      onRetry: () => {
        counters.retries++;
      },
    });
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
      credentials: credentials !== undefined && "ask" in credentials ? () => this.#askCredentials(credentials.ask) : credentials,
    };
  }
}
