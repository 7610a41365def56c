import type { ModuleRef, S3Options } from "../api.js";
import { MillraceError } from "../errors.js";
import { FileStore } from "./file-store.js";
import { HttpStore } from "./http-store.js";
import type { HttpTimeouts } from "./http-timeouts.js";
import { memoryStore } from "./memory-store.js";
import { moduleStore } from "./module-store.js";
import type { Proxies } from "./proxies.js";
import type { RangeGetter } from "./range-answer.js";
import type { RetryPolicy } from "./retry.js";
import { S3Store } from "./s3-store.js";
import type { Store } from "./store.js";
import { parseUri } from "./uri.js";

export interface OpenStoreOptions {
  readonly s3?: S3Options | undefined;
  /** Own stores by scheme; they go before the built-in ones. */
  readonly stores?: Readonly<Record<string, ModuleRef>> | undefined;
  readonly timeouts?: HttpTimeouts | undefined;
  /** Sends the ranged GETs of http and s3 stores; stays its owner's to close. Default: a client for each store, in this thread. */
  readonly ranges?: RangeGetter | undefined;
  /** Of http and s3 stores. Default: none, whatever the environment says. */
  readonly proxies?: Proxies | undefined;
  /** For what a store must retry by itself: the requests of an s3 write. */
  readonly retry?: RetryPolicy | undefined;
  /** Told what a person has to see to. Default: nobody. */
  readonly log?: ((level: string, fields: object, message: string) => void) | undefined;
}

/**
 * Opens the store of a URI's root (`parseUri(uri).root`), bare: retry, limits, hedges and counters go around it, in this order from the outside:
 * `withRetry(withLimits(withHedge(withCounters(store))))`, so that every try queues and counts. Throws MILLRACE_CONFIG. Makes no request.
 */
export async function openStore(uri: string, options: OpenStoreOptions = {}): Promise<Store> {
  const { scheme, root } = parseUri(uri);
  const name = root.slice(root.indexOf("//") + 2);
  const own = options.stores?.[scheme];
  if (own !== undefined) return moduleStore(own, root);
  switch (scheme) {
    case "s3":
      return S3Store.open(name, options);
    case "http":
    case "https":
      return new HttpStore(root, options.timeouts, options.ranges, options.proxies);
    case "file":
      return new FileStore();
    case "memory":
      return memoryStore(name);
    default:
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${root}: no store for the scheme "${scheme}": use s3, https, http, file or memory, or give a module as stores.${scheme}`,
      );
  }
}
