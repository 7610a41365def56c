/** The mill on the caller's side: a thin proxy of the engine, so that a loop that blocks its thread blocks no reading. */
import type {
  Checkpoint,
  Dataset,
  DatasetOptions,
  Fields,
  LocalCopy,
  Logger,
  Millrace,
  MillraceOptions,
  MillStats,
  NamedTensors,
  NodeShare,
  ObjectInfo,
  OpenFile,
  PeerInfo,
  PrefetchJob,
  PrefetchOptions,
  S3Credentials,
  SaveOptions,
  TrainingRun,
  TrainingState,
  TrainingStateOptions,
  Watch,
} from "./api.js";
import { openCheckpoint } from "./checkpoint/open-checkpoint.js";
import { saveCheckpoint } from "./checkpoint/save.js";
import { type ResolvedPath, TrainingStates } from "./checkpoint/training-state.js";
import { type Connection, connect } from "./engine/connect.js";
import { startPrefetch } from "./engine/prefetch-job.js";
import type { CallOptions } from "./engine/rpc.js";
import { checkWriteData, writeParts } from "./engine/write-parts.js";
import { abortedError, isMillraceError, MillraceError } from "./errors.js";
import { Manifest } from "./formats/manifest.js";
import { DatasetView } from "./loader/dataset.js";
import { checkDatasetOptions } from "./loader/loader-options.js";
import type { OpenedDataset } from "./loader/protocol.js";
import { millConfig } from "./options.js";

class Mill implements Millrace {
  readonly #connection: Connection;
  readonly #logger: Logger | undefined;
  readonly #states = new TrainingStates({
    list: (prefix) => this.list(prefix),
    invalidate: (prefix) => this.invalidate(prefix),
    checkpoint: (...call) => this.checkpoint(...call),
    saveCheckpoint: (...call) => this.saveCheckpoint(...call),
    resolve: async (path) => (await this.#call("resolve", path)) as ResolvedPath,
  });
  #nextId = 1;
  #closed = false;

  constructor(connection: Connection, logger: Logger | undefined) {
    this.#connection = connection;
    this.#logger = logger;
  }

  async dataset<const F extends Fields>(source: string | readonly string[], options: DatasetOptions<F> = {}): Promise<Dataset<F>> {
    if (typeof source !== "string" && !(Array.isArray(source) && source.every((part) => typeof part === "string")))
      throw new MillraceError("MILLRACE_CONFIG", "source: expected a prefix, a file, a pattern, or a list of these");
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
    const left = new AbortController();
    const onProgress = (page: ObjectInfo[]) => {
      pages.push(page);
      wake();
    };
    const listing = this.#call("list", prefix, { signal: left.signal, onProgress }).finally(() => {
      over = true;
      wake();
    });
    listing.catch(() => {}); // Awaited below, once the pages that came before are handed out.
    try {
      for (;;) {
        const page = pages.shift();
        if (page !== undefined) yield* page;
        else if (over) break;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
      await listing;
    } finally {
      left.abort(); // Who leaves the loop early wants no further pages.
    }
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
    checkWriteData(data);
    const id = this.#nextId++;
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const size = bytes instanceof Uint8Array ? bytes.byteLength : undefined;
    const written = this.#call("writeBegin", { id, path, size }, options);
    try {
      await Promise.all([this.#sendParts(id, bytes, written), written]);
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
    return startPrefetch(this.#nextId++, source, options, this.#connection.rpc, (...call) => this.#call(...call));
  }

  checkpoint(source: string, options: Watch = {}): Promise<Checkpoint> {
    return openCheckpoint((...call) => this.#call(...call), source, options);
  }

  saveCheckpoint(target: string, tensors: NamedTensors, options: SaveOptions = {}): Promise<ObjectInfo> {
    const saved = saveCheckpoint(
      (...call) => this.#call(...call),
      () => this.#nextId++,
      target,
      tensors,
      options,
    );
    // A call under way keeps the process alive: a program that comes to its end ends when it is uploaded. What fails is logged, and `flush` says it.
    if (options.write === "back") saved.then(() => this.#call("flush", false)).catch(() => {});
    return saved;
  }

  async flush(): Promise<void> {
    await this.#call("flush", true);
  }

  saveTrainingState(prefix: string, run: TrainingRun, options: TrainingStateOptions = {}): Promise<ObjectInfo> {
    return this.#states.save(prefix, run, options);
  }

  loadLatest(prefix: string, options: Watch = {}): Promise<TrainingState | undefined> {
    return this.#states.loadLatest(prefix, options);
  }

  async evict(prefix: string): Promise<number> {
    return (await this.#call("evict", prefix)) as number;
  }

  async invalidate(prefix: string): Promise<number> {
    return (await this.#call("invalidate", prefix)) as number;
  }

  async locate(prefix: string, options: { signal?: AbortSignal | undefined } = {}): Promise<readonly NodeShare[]> {
    return (await this.#call("locate", prefix, options)) as readonly NodeShare[];
  }

  async peers(): Promise<readonly PeerInfo[]> {
    return (await this.#call("peers", undefined)) as readonly PeerInfo[];
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

  /** Sends parts until the data ends or the write has failed, whichever comes first. */
  async #sendParts(id: number, data: Uint8Array | AsyncIterable<Uint8Array>, written: Promise<unknown>): Promise<void> {
    let failed = false;
    written.catch(() => {
      failed = true;
    });
    for await (const bytes of writeParts(data)) {
      if (failed) return;
      await this.#call("writePart", { id, bytes }, { transfer: [bytes.buffer] });
    }
    await this.#call("writePart", { id, bytes: undefined });
  }

  async #call(method: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    if (this.#closed) throw closedError();
    try {
      return await this.#connection.rpc.call(method, args, options);
    } catch (error) {
      // A call that the mill's end has cut short may fail with anything, depending on how far it had come.
      throw this.#closed && !options.signal?.aborted ? closedError(error) : error;
    }
  }
}

function closedError(cause?: unknown): MillraceError {
  return isMillraceError(cause, "MILLRACE_CLOSED") ? cause : new MillraceError("MILLRACE_CLOSED", "The mill is closed", { cause });
}

/** See `open.ts`. */
export async function openMillrace(options: MillraceOptions): Promise<Millrace> {
  const config = millConfig(options);
  const logger = options.logger;
  const connection = await connect(config.engine, config.inline, {
    credentials: async (ask: number) => plainKeys(await config.credentials[ask]!()),
    log: ({ level, fields, message }: { level: keyof Logger; fields: object; message: string }) => logger?.[level](fields, message),
  });
  return new Mill(connection, logger);
}

/** What a provider answers may hold more, such as functions, which cannot cross to the engine. */
function plainKeys(answer: S3Credentials | undefined): Partial<S3Credentials> {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = answer ?? {};
  return { ...(accessKeyId && { accessKeyId }), ...(secretAccessKey && { secretAccessKey }), sessionToken, expiration };
}

/** See `open.ts`. */
export async function openDataset<const F extends Fields>(
  source: string | readonly string[],
  options: MillraceOptions & DatasetOptions<F>,
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
