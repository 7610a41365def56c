import type { ModuleRef } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { Store } from "./store.js";
import { redactUri } from "./uri.js";

/** What a store's module exports: makes a store for one root, `gs://bucket`. `args` is the ModuleRef's. */
export type StoreFactory = (args: unknown, context: { readonly uri: string }) => Store | Promise<Store>;

/**
 * A store of the user's own, from its module. Where its code throws something that is no MillraceError, that becomes
 * MILLRACE_UNAVAILABLE (another try may help) with the thrown value as cause. Throws MILLRACE_CONFIG where the module does not hold to the interface.
 */
export async function moduleStore(ref: ModuleRef, uri: string): Promise<Store> {
  const name = ref.export ?? "default";
  const where = `stores: ${String(ref.url)} (export "${name}")`;
  const factory = await loadFactory(ref, name, where);
  let store: Store;
  try {
    store = await (factory as StoreFactory)(ref.args, { uri });
  } catch (error) {
    if (isMillraceError(error)) throw error;
    throw new MillraceError("MILLRACE_CONFIG", `${where}: threw while opening ${uri}: ${messageOf(error)}`, { cause: error });
  }
  checkShape(store, where);
  return guarded(store);
}

async function loadFactory(ref: ModuleRef, name: string, where: string): Promise<unknown> {
  let exports: Record<string, unknown>;
  try {
    exports = (await import(String(ref.url))) as Record<string, unknown>;
  } catch (error) {
    const hint = 'give an absolute URL, such as new URL("./my-store.js", import.meta.url)';
    throw new MillraceError("MILLRACE_CONFIG", `${where}: cannot be imported (${messageOf(error)}); ${hint}`, { cause: error });
  }
  if (typeof exports[name] !== "function")
    throw new MillraceError("MILLRACE_CONFIG", `${where}: is not a function (args, { uri }) => Store`);
  return exports[name];
}

function checkShape(store: Store | undefined, where: string): void {
  const wrong = (what: string) => new MillraceError("MILLRACE_CONFIG", `${where}: the store it returns ${what}`);
  if (typeof store !== "object" || store === null) throw wrong("is not an object");
  if (typeof store.uri !== "string" || store.uri === "") throw wrong("has no uri (a string: its root, part of every object's identity)");
  for (const method of ["list", "stat", "readInto"] as const) if (typeof store[method] !== "function") throw wrong(`has no ${method}()`);
  for (const method of ["write", "close"] as const)
    if (store[method] !== undefined && typeof store[method] !== "function") throw wrong(`has a ${method} that is not a function`);
}

/** The store, throwing nothing but MillraceErrors. */
function guarded(store: Store): Store {
  const { write } = store;
  const close = store.close?.bind(store);
  const guard = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw foreignError(error, `${store.uri}/${path}`);
    }
  };
  return {
    uri: store.uri,
    list: async function* (prefix, options) {
      try {
        yield* store.list(prefix, options);
      } catch (error) {
        throw foreignError(error, `${store.uri}/${prefix}`);
      }
    },
    stat: (path, options) => guard(path, () => store.stat(path, options)),
    readInto: (object, begin, targets, options) => guard(object.path, () => store.readInto(object, begin, targets, options)),
    ...(write && { write: (path, parts, options) => guard(path, () => write.call(store, path, parts, options)) }),
    ...(close && { close }),
  };
}

function foreignError(error: unknown, uri: string): MillraceError {
  if (isMillraceError(error)) return error;
  const bare = redactUri(uri);
  if ((error as Error | undefined)?.name === "AbortError")
    return new MillraceError("MILLRACE_ABORTED", `${bare}: the operation was aborted`, { uri: bare, cause: error });
  const message = `${bare}: the store's own code failed: ${messageOf(error)}; throw a MillraceError to say what it means`;
  return new MillraceError("MILLRACE_UNAVAILABLE", message, { uri: bare, cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
