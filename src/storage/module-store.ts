import type { ModuleRef } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { passedOn } from "./passed-on.js";
import { releasedParts } from "./released-parts.js";
import type { ListOptions, ReadOptions, Store, StoredObject } from "./store.js";
import { targetBytes } from "./targets.js";
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
  for (const method of ["write", "remove", "close"] as const)
    if (store[method] !== undefined && typeof store[method] !== "function") throw wrong(`has a ${method} that is not a function`);
}

/** The store, throwing nothing but MillraceErrors, and held to what the interface says: a breach must not become wrong bytes or lost objects. */
function guarded(store: Store): Store {
  const { write, remove } = store;
  const guard = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw foreignError(error, `${store.uri}/${path}`);
    }
  };
  return {
    ...passedOn(store),
    list: (prefix, options) => guardedList(store, prefix, options),
    stat: (path, options) => guard(path, async () => checkObject(await store.stat(path, options), store, "stat", path)),
    readInto: (object, begin, targets, options) => guard(object.path, () => guardedRead(store, object, begin, targets, options ?? {})),
    ...(write && {
      write: (path, parts, options) =>
        guard(path, async () => {
          const { release, ...own } = options ?? {};
          return checkObject(await write.call(store, path, releasedParts(parts, release), own), store, "write", path);
        }),
    }),
    ...(remove && { remove: (path, options) => guard(path, () => remove.call(store, path, options)) }),
  };
}

async function* guardedList(store: Store, prefix: string, options: ListOptions | undefined): AsyncIterable<StoredObject> {
  let last: string | undefined;
  try {
    for await (const object of store.list(prefix, options)) {
      checkObject(object, store, "list", prefix);
      if (!object.path.startsWith(prefix)) throw breach(store, "list", prefix, `gave ${object.path}, which does not begin with the prefix`);
      if (last !== undefined && compareUtf8(object.path, last) <= 0)
        throw breach(store, "list", prefix, `gave ${object.path} after ${last}: the order must be ascending by UTF-8 bytes`);
      last = object.path;
      yield object;
    }
  } catch (error) {
    throw foreignError(error, `${store.uri}/${prefix}`);
  }
}

/** A read that has not filled its targets would hand out what the memory held before. */
async function guardedRead(
  store: Store,
  object: StoredObject,
  begin: number,
  targets: readonly Uint8Array[],
  options: ReadOptions,
): Promise<void> {
  const progress = options.progress ?? { received: 0 };
  const before = progress.received;
  let lost = false;
  const claim =
    options.claim &&
    (() => {
      const won = options.claim!();
      lost = !won;
      return won;
    });
  await store.readInto(object, begin, targets, { ...options, progress, ...(claim && { claim }) });
  const filled = progress.received - before;
  const wanted = targetBytes(targets);
  if (lost || filled === wanted) return;
  const said = `resolved with ${filled} of ${wanted} bytes (by progress.received, which it must advance)`;
  throw breach(store, "readInto", object.path, said);
}

function checkObject(object: StoredObject, store: Store, method: string, path: string): StoredObject {
  if (typeof object !== "object" || object === null) throw breach(store, method, path, `gave ${String(object)} for an object's facts`);
  const { size, etag, lastModified } = object;
  if (typeof object.path !== "string" || (method !== "list" && object.path !== path))
    throw breach(store, method, path, `gave the path ${String(object.path)}`);
  if (!Number.isSafeInteger(size) || size < 0) throw breach(store, method, path, `gave ${object.path} the size ${String(size)}`);
  if (typeof etag !== "string" || etag === "") throw breach(store, method, path, `gave ${object.path} no etag, which tells versions apart`);
  if (lastModified !== undefined && !(lastModified instanceof Date))
    throw breach(store, method, path, `gave ${object.path} a lastModified that is no Date`);
  return object;
}

function breach(store: Store, method: string, path: string, what: string): MillraceError {
  const uri = redactUri(`${store.uri}/${path}`);
  return new MillraceError("MILLRACE_CONFIG", `${uri}: the store breaks its contract: ${method}() ${what}`, { uri });
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
