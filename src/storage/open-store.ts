import type { ModuleRef, S3Options } from "../api.js";
import { MillraceError } from "../errors.js";
import { FileStore } from "./file-store.js";
import type { HttpTimeouts } from "./http-client.js";
import { HttpStore } from "./http-store.js";
import { memoryStore } from "./memory-store.js";
import { moduleStore } from "./module-store.js";
import type { RetryPolicy } from "./retry.js";
import { S3Store } from "./s3-store.js";
import type { Store } from "./store.js";
import { parseUri } from "./uri.js";

export interface OpenStoreOptions {
  readonly s3?: S3Options | undefined;
  /** Own stores by scheme; they go before the built-in ones. */
  readonly stores?: Readonly<Record<string, ModuleRef>> | undefined;
  readonly timeouts?: HttpTimeouts | undefined;
  /** For what a store must retry by itself: the requests of an s3 write. */
  readonly retry?: RetryPolicy | undefined;
}

/**
 * Opens the store of a URI's root (`parseUri(uri).root`), bare: retry, limits and counters go around it, in this order from the outside:
 * `withRetry(withLimits(withCounters(store)))`, so that every try queues and counts. Throws MILLRACE_CONFIG. Makes no request.
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
      return new HttpStore(root, options.timeouts);
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
