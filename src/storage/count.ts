import { passedOn } from "./passed-on.js";
import type { ListOptions, Store, StoredObject } from "./store.js";

/** What one store was asked for. Only ever grows. */
export interface StoreCounters {
  /** Calls of `readInto`, failed ones included: with retries outside of this wrapper, one for each try. */
  reads: number;
  /** Bytes of reads that succeeded, and of failed ones as far as they came. */
  bytes: number;
  lists: number;
  stats: number;
  writes: number;
  /** Calls of any kind that threw, aborts included. */
  errors: number;
  /** Advanced by the retry around the store: `withRetry(…, { onRetry: () => counters.retries++ })`. */
  retries: number;
  /** Reads sent a second time because the answer was late, which count as reads too; and how many of these were answered first. By the hedger. */
  hedges: number;
  hedgeWins: number;
}

export function newCounters(): StoreCounters {
  return { reads: 0, bytes: 0, lists: 0, stats: 0, writes: 0, errors: 0, retries: 0, hedges: 0, hedgeWins: 0 };
}

/** The store, with its calls counted. Innermost of all wrappers, so that every try counts. */
export function withCounters(store: Store, counters: StoreCounters): Store {
  const failed = (error: unknown): never => {
    counters.errors++;
    throw error;
  };
  const { write } = store;
  return {
    ...passedOn(store),
    list: (prefix, options) => countedList(store, counters, prefix, options),
    stat: (path, options) => {
      counters.stats++;
      return store.stat(path, options).catch(failed);
    },
    readInto: async (object, begin, targets, options) => {
      counters.reads++;
      const progress = options?.progress ?? { received: 0 };
      const before = progress.received;
      try {
        await store.readInto(object, begin, targets, { ...options, progress });
      } catch (error) {
        failed(error);
      } finally {
        counters.bytes += progress.received - before;
      }
    },
    ...(write && {
      write: (path: string, ...rest: [AsyncIterable<Uint8Array>]) => {
        counters.writes++;
        return write.call(store, path, ...rest).catch(failed);
      },
    }),
  };
}

async function* countedList(
  store: Store,
  counters: StoreCounters,
  prefix: string,
  options: ListOptions | undefined,
): AsyncIterable<StoredObject> {
  counters.lists++;
  try {
    yield* store.list(prefix, options);
  } catch (error) {
    counters.errors++;
    throw error;
  }
}
