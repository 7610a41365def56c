/** The mill on the caller's side: a thin proxy of the engine, so that a loop that blocks its thread blocks no reading. */
import type {
  Dataset,
  DatasetOptions,
  Fields,
  LocalCopy,
  Logger,
  Millrace,
  MillraceOptions,
  MillStats,
  ObjectInfo,
  OpenFile,
  PrefetchJob,
  PrefetchOptions,
  PrefetchReport,
  Progress,
  Watch,
} from "./api.js";
import { type Connection, connect } from "./engine/connect.js";
import { abortedError, MillraceError } from "./errors.js";
import { Manifest } from "./formats/manifest.js";
import { DatasetView } from "./loader/dataset.js";
import { DatasetLoader } from "./loader/loader.js";
import type { OpenedDataset } from "./loader/protocol.js";
import { checkDatasetOptions, millConfig } from "./options.js";

/** Parts of a write: what crosses to the engine at a time. */
const WRITE_PART_BYTES = 8 * 2 ** 20;

class Mill implements Millrace {
  readonly #connection: Connection;
  readonly #logger: Logger | undefined;
  #nextId = 1;
  #closed = false;

  constructor(connection: Connection, logger: Logger | undefined) {
    this.#connection = connection;
    this.#logger = logger;
  }

  async dataset<const F extends Fields>(source: string | readonly string[], options: DatasetOptions<F> = {}): Promise<Dataset<F>> {
    checkDatasetOptions(options);
    const { format, fields, classes, onError = "throw", signal, onProgress } = options;
    const request = { source, format, fields, classes, onError };
    const opened = (await this.#call("openDataset", request, { signal, onProgress })) as OpenedDataset;
    return new DatasetView<F>(
      {
        engine: this.#connection.rpc,
        opened,
        manifest: Manifest.fromShared(opened.manifest),
        name: typeof source === "string" ? source : `${source[0]} and ${source.length - 1} more`,
        warn: (warned, message) => this.#logger?.warn(warned, message),
      },
      [],
    );
  }

  async *list(prefix: string): AsyncGenerator<ObjectInfo, void, undefined> {
    const pages: ObjectInfo[][] = [];
    let wake = () => {};
    let over = false;
    const listing = this.#call("list", prefix, {
      onProgress: (page: ObjectInfo[]) => {
        pages.push(page);
        wake();
      },
    }).finally(() => {
      over = true;
      wake();
    });
    listing.catch(() => {}); // Awaited below, once the pages that came before are handed out.
    for (;;) {
      const page = pages.shift();
      if (page !== undefined) yield* page;
      else if (over) break;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
    await listing;
  }

  async stat(path: string): Promise<ObjectInfo> {
    return (await this.#call("stat", { path })) as ObjectInfo;
  }

  async open(path: string): Promise<OpenFile> {
    const info = await this.stat(path);
    return {
      info,
      read: async (begin, target, options = {}) => {
        const request = { path, begin, end: begin + target.byteLength, version: info };
        target.set((await this.#call("read", request, options)) as Uint8Array);
      },
    };
  }

  async readFile(
    path: string,
    options: Watch & { begin?: number | undefined; end?: number | undefined } = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { begin, end, ...watch } = options;
    return (await this.#call("read", { path, begin, end, version: undefined }, watch)) as Uint8Array<ArrayBuffer>;
  }

  async writeFile(path: string, data: Uint8Array | string | AsyncIterable<Uint8Array>, options: Watch = {}): Promise<ObjectInfo> {
    const id = this.#nextId++;
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const size = bytes instanceof Uint8Array ? bytes.byteLength : undefined;
    const written = this.#call("writeBegin", { id, path, size }, options);
    try {
      const sent = this.#sendParts(id, bytes instanceof Uint8Array ? partsOf(bytes) : bytes, written);
      await Promise.all([sent, written]);
    } catch (error) {
      await this.#call("writeAbort", id).catch(() => {});
      await written.catch(() => {});
      throw error;
    }
    return (await written) as ObjectInfo;
  }

  async materialize(path: string, options: Watch = {}): Promise<LocalCopy> {
    const copy = (await this.#call("materialize", path, options)) as { path: string; id: string };
    let released: Promise<void> | undefined;
    const release = () => {
      released ??= copy.id === "" || this.#closed ? Promise.resolve() : this.#call("dropCopy", copy.id).then(() => {});
      return released;
    };
    return { path: copy.path, release, [Symbol.asyncDispose]: release };
  }

  prefetch(source: Parameters<Millrace["prefetch"]>[0], options: PrefetchOptions = {}): PrefetchJob {
    const id = this.#nextId++;
    const cancel = new AbortController();
    const signal = options.signal === undefined ? cancel.signal : AbortSignal.any([options.signal, cancel.signal]);
    let progress: Progress = { bytes: 0, totalBytes: 0, objects: 0, totalObjects: 0, bytesPerSecond: 0, etaSeconds: 0 };
    const onProgress = (now: Progress) => {
      progress = now;
      options.onProgress?.(now);
    };
    const done = this.#prefetchSource(source).then((resolved) =>
      this.#call("prefetch", { id, source: resolved, priority: options.priority ?? 0 }, { signal, onProgress }),
    ) as Promise<PrefetchReport>;
    done.catch(() => {}); // A job that nobody waits for may be cancelled in peace.
    const steer = (pause: boolean) => void this.#call("steerPrefetch", { id, pause }).catch(() => {});
    return {
      get progress() {
        return progress;
      },
      done,
      pause: () => steer(true),
      resume: () => steer(false),
      cancel: () => cancel.abort(),
    };
  }

  async evict(prefix: string): Promise<number> {
    return (await this.#call("evict", prefix)) as number;
  }

  async invalidate(prefix: string): Promise<number> {
    return (await this.#call("invalidate", prefix)) as number;
  }

  stats(): MillStats {
    return this.#connection.board.read();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #prefetchSource(source: Parameters<Millrace["prefetch"]>[0]): Promise<unknown> {
    if (typeof source === "string" || !("loader" in source)) return source;
    if (!(source.loader instanceof DatasetLoader))
      throw new MillraceError("MILLRACE_CONFIG", "prefetch: loader: expected a loader of this mill");
    return { loaderId: await source.loader.engineId(), epoch: source.epoch, steps: source.steps };
  }

  /** Sends parts until the data ends or the write has failed, whichever comes first. */
  async #sendParts(id: number, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, written: Promise<unknown>): Promise<void> {
    let failed = false;
    written.catch(() => {
      failed = true;
    });
    for await (const bytes of parts) {
      if (failed) return;
      await this.#call("writePart", { id, bytes });
    }
    await this.#call("writePart", { id, bytes: undefined });
  }

  #call(
    method: string,
    args: unknown,
    options: { signal?: AbortSignal | undefined; onProgress?: ((value: never) => void) | undefined } = {},
  ): Promise<unknown> {
    if (this.#closed) return Promise.reject(new MillraceError("MILLRACE_CLOSED", "The mill is closed"));
    return this.#connection.rpc.call(method, args, options);
  }
}

function* partsOf(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let begin = 0; begin < bytes.byteLength; begin += WRITE_PART_BYTES) yield bytes.subarray(begin, begin + WRITE_PART_BYTES);
}

/**
 * Opens a mill: mounts, caches and engine. Close it, or hold it by `await using`, to end its thread and sockets.
 *
 * Throws MILLRACE_CONFIG for options that are unknown or do not fit, and for a cache directory that cannot be written.
 */
export async function openMillrace(options: MillraceOptions = {}): Promise<Millrace> {
  const config = millConfig(options);
  const logger = options.logger;
  const connection = await connect(config.engine, config.inline, {
    credentials: (ask: number) => config.credentials[ask]!(),
    log: ({ level, fields, message }: { level: keyof Logger; fields: object; message: string }) => logger?.[level](fields, message),
  });
  return new Mill(connection, logger);
}

/** `openMillrace` and `dataset` in one. Closing the dataset (`await using`) closes its mill. */
export async function openDataset<const F extends Fields>(
  source: string | readonly string[],
  options: MillraceOptions & DatasetOptions<F> = {},
): Promise<Dataset<F> & AsyncDisposable> {
  const { format, fields, classes, onError, signal, onProgress, ...millOptions } = options;
  if (signal?.aborted) throw abortedError(signal, "Opening the dataset");
  const mill = await openMillrace(millOptions);
  try {
    const dataset = await mill.dataset<F>(source, { format, fields, classes, onError, signal, onProgress });
    return Object.assign(dataset, { [Symbol.asyncDispose]: () => mill.close() });
  } catch (error) {
    await mill.close();
    throw error;
  }
}
