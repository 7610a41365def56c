/**
 * The engine: everything that reads, caches and assembles, behind a port. In a worker thread as a rule, in the caller's own with
 * `engine: "inline"`; the same code either way.
 */
import type { MessagePort } from "node:worker_threads";
import type { S3Credentials } from "../api.js";
import { objectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import { MetadataCache } from "../cache/metadata-cache.js";
import { BlockCache } from "../cache/tier-chain.js";
import { StatsBoard } from "../diagnostics.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { OpenDataset, OpenLoader, ReadRows, RunLoader } from "../loader/protocol.js";
import type { EngineConfig, WireS3 } from "../options.js";
import { ReadAheadBudget } from "../readahead/budget.js";
import { memoryLimit } from "../util/cgroup.js";
import { inTurn } from "../util/in-turn.js";
import { figures } from "./figures.js";
import { Files, type PiecesRequest, type ReadRequest } from "./files.js";
import { IoPool } from "./io-pool.js";
import { Locator } from "./locate.js";
import { Mounts, publicInfo, resolvedPath } from "./mounts.js";
import { OpenDatasets } from "./open-datasets.js";
import { Origins, preloadStores } from "./origins.js";
import { PeerNode } from "./peer-node.js";
import { PendingVersions } from "./pending-versions.js";
import { wholeObjects } from "./prefetch-items.js";
import { Prefetches, type PrefetchRequest } from "./prefetches.js";
import { type CallContext, type Handlers, Rpc, Transfer } from "./rpc.js";
import { Saves, saveHandlers } from "./saves.js";
import { Sources } from "./sources.js";
import { Writes } from "./writes.js";

/** How often the figures of `mill.stats()` are brought up to date while nothing else does. */
const STATS_EVERY_MS = 250;
/** Objects a message of a listing. */
const LIST_PAGE = 1000;

/** What the host asks of the caller's side. */
export interface HostStart {
  readonly config: EngineConfig;
  readonly stats: SharedArrayBuffer;
}

export class EngineHost {
  readonly #rpc: Rpc;
  readonly #board: StatsBoard;
  readonly #io: IoPool | undefined;
  readonly #origins: Origins;
  readonly #mounts: Mounts;
  readonly #cache: BlockCache;
  readonly #peers: PeerNode | undefined;
  readonly #metadata: MetadataCache;
  readonly #sources: Sources;
  readonly #locator: Locator;
  readonly #pending = new PendingVersions();
  readonly #saves: Saves;
  readonly #files: Files;
  readonly #writes: Writes;
  readonly #datasets: OpenDatasets;
  readonly #prefetches: Prefetches;
  readonly #closing = new AbortController();
  readonly #timer: NodeJS.Timeout;

  /** `ownThread`: nothing else keeps this thread alive. Resolves when the caches are open. Throws MILLRACE_CONFIG for a cache directory that cannot be written. */
  static async start(port: MessagePort, start: HostStart, ownThread: boolean): Promise<EngineHost> {
    const { cache } = start.config;
    let host: EngineHost | undefined;
    const log = (level: string, fields: object, message: string) => host?.log(level, fields, message);
    const { blockSize, memoryBytes, disk } = cache;
    const context = { blockSize, originCostMs: () => host?.spanMs, log };
    const peers = start.config.peers && (await PeerNode.open(start.config.peers, disk[0]?.path, context));
    const sources = peers && ((slab: Slab) => [peers.source(slab)]);
    const { ioThreads } = start.config;
    const copies = start.config.peers?.copies;
    const opening = BlockCache.open({ memoryBytes, disk: [...disk], blockSize, log, sources, copies, ioThreads: ioThreads > 1 });
    const [blocks] = await Promise.all([opening, preloadStores(start.config)]);
    host = new EngineHost(port, start, blocks, peers, ownThread);
    try {
      await host.#join();
      await host.#saves.recover();
      return host;
    } catch (error) {
      await host.#close().catch(() => {}); // The first failure is the one to tell.
      throw error;
    }
  }

  /** What a span costs the origin, as measured so far, milliseconds. */
  get spanMs(): number | undefined {
    return this.#origins.spanMs;
  }

  private constructor(port: MessagePort, { config, stats }: HostStart, cache: BlockCache, peers: PeerNode | undefined, ownThread: boolean) {
    this.#peers = peers;
    this.#board = new StatsBoard(stats);
    this.#cache = cache;
    this.#rpc = new Rpc(port, this.#refreshed(this.#handlers()), ownThread);
    const log = (level: string, fields: object, message: string) => this.log(level, fields, message);
    this.#io = config.ioThreads > 1 ? new IoPool(config.ioThreads, log) : undefined;
    this.#origins = new Origins(config, {
      ranges: this.#io,
      askCredentials: (ask, signal) => this.#rpc.call("credentials", ask, { signal }) as Promise<S3Credentials>,
      changed: (store, path) => this.#metadata.forget(store, path),
      log,
    });
    this.#mounts = new Mounts(config, (root, s3: WireS3 | undefined) => this.#origins.open(root, s3));
    this.#metadata = new MetadataCache({ ...config.cache.metadata, directories: cache.disk?.directories ?? [] });
    this.#sources = new Sources(this.#mounts, this.#metadata);
    this.#locator = new Locator({ mounts: this.#mounts, sources: this.#sources, cache, peers, log });
    const context = { mounts: this.#mounts, metadata: this.#metadata, cache, pending: this.#pending, log };
    this.#saves = new Saves(context);
    this.#files = new Files(context, this.#saves, config.cache.disk[0]?.path);
    this.#writes = new Writes(this.#files);
    const { maxRecordBytes } = config.limits;
    const warn = (fields: object, message: string) => this.log("warn", fields, message);
    const opener = { sources: this.#sources, metadata: this.#metadata, cache, maxRecordBytes, warn };
    const budget = new ReadAheadBudget({ limitBytes: memoryLimit(), usedBytes: () => process.memoryUsage.rss() });
    this.#datasets = new OpenDatasets(opener, { cache, shared: peers !== undefined, budget }, this.#closing.signal);
    this.#prefetches = new Prefetches({ cache, peers, sources: this.#sources, loader: (id) => this.#datasets.loader(id) });
    this.#timer = setInterval(() => this.#refresh(), STATS_EVERY_MS).unref();
    this.#refresh();
  }

  log(level: string, fields: object, message: string): void {
    // Nobody waits for a log line, and one that finds the caller gone is lost without harm.
    this.#rpc.call("log", { level, fields, message }).catch(() => {});
  }

  #handlers() {
    return {
      resolve: async (path: string) => resolvedPath(await this.#mounts.resolve(path)),
      stat: ({ path, fresh }: { path: string; fresh?: boolean }, { signal }: CallContext) => this.#files.stat(path, fresh, signal),
      list: (prefix: string, context: CallContext) => this.#list(prefix, context),
      read: async (request: ReadRequest, context: CallContext) => handedOver(await this.#files.read(request, context)),
      readPieces: async (request: PiecesRequest, context: CallContext) => handedOver(await this.#files.readPieces(request, context)),
      writeBegin: (request: { id: number; path: string; size: number | undefined }, context: CallContext) =>
        this.#writes.begin(request, context),
      writePart: (request: { id: number; bytes: Uint8Array | undefined }) => this.#writes.part(request),
      writeAbort: (id: number) => this.#writes.abort(id),
      materialize: (path: string, context: CallContext) => this.#files.materialize(path, context),
      dropCopy: (id: string) => this.#files.dropCopy(id),
      evict: (prefix: string, { signal }: CallContext) => this.#evict(prefix, signal),
      invalidate: (prefix: string) => this.#invalidate(prefix),
      locate: (prefix: string, { signal }: CallContext) => this.#locator.locate(prefix, signal),
      peers: () => this.#peers?.peers() ?? [],
      openDataset: (request: OpenDataset, context: CallContext) => this.#datasets.open(request, context),
      readRows: (request: ReadRows, context: CallContext) => this.#datasets.readRows(request, context),
      openLoader: (request: OpenLoader, context: CallContext) => this.#datasets.openLoader(request, context),
      runLoader: async (request: RunLoader, context: CallContext) =>
        (await this.#datasets.loader(request.loaderId)).run(request, context, () => this.#refresh()),
      closeLoader: (id: number) => this.#datasets.closeLoader(id),
      prefetch: (request: PrefetchRequest, context: CallContext) => this.#prefetches.run(request, context),
      steerPrefetch: (request: { id: number; pause: boolean }) => this.#prefetches.steer(request),
      ...saveHandlers(() => this.#saves),
      close: () => this.#close(),
    };
  }

  /** The handlers, each of which leaves the figures of `mill.stats()` up to date. */
  #refreshed(handlers: Handlers): Handlers {
    const refreshing = ([name, handler]: [string, Handlers[string]]) => {
      const wrapped = async (args: never, context: CallContext) => {
        try {
          return await handler(args, context);
        } finally {
          this.#refresh();
        }
      };
      return [name, wrapped];
    };
    return Object.fromEntries(Object.entries(handlers).map(refreshing));
  }

  async #list(prefix: string, context: CallContext): Promise<void> {
    let page = [];
    const place = await this.#mounts.resolve(prefix);
    for await (const stored of this.#pending.among(place, this.#sources.at(place, context.signal))) {
      page.push(publicInfo(place, stored));
      if (page.length === LIST_PAGE) {
        context.progress(page);
        page = [];
      }
    }
    context.progress(page);
  }

  async #evict(prefix: string, signal: AbortSignal): Promise<number> {
    // What is not there any more has nothing to drop.
    const found = await this.#sources.find(prefix, signal, (_name, error) => {
      if (!isMillraceError(error, "MILLRACE_NOT_FOUND")) throw error;
    });
    return this.#cache.evict(wholeObjects(found).map(({ object }) => object.id));
  }

  async #invalidate(prefix: string): Promise<number> {
    const place = await this.#mounts.resolve(prefix);
    return this.#metadata.invalidate(place.store, place.path);
  }

  /** Serves this node's blocks to its peers, and finds them. */
  async #join(): Promise<void> {
    await this.#peers?.join(this.#cache, {
      resolve: async ({ uri, size, etag }) => {
        const place = await this.#mounts.covering(uri);
        return place && objectVersion(place.store, { path: place.path, size, etag, lastModified: undefined }, place.rules);
      },
      heldBelow: (uri) => this.#locator.heldBelow(uri),
    });
  }

  #refresh(): void {
    const processes = this.#cache.disk?.processes ?? 1;
    this.#origins.divide(processes);
    this.#peers?.divide(processes);
    const { counters, limits } = this.#origins;
    const [cache, metadata] = [this.#cache.stats(), this.#metadata.stats()];
    this.#board.write(figures(counters, limits, cache, metadata, this.#files.stats(), this.#saves.stats(), this.#peers?.stats()));
  }

  /** Leaves the peers, ends runs and workers, then I/O, then the caches, and at last the connection: each also where one before it fails. */
  async #close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort(new MillraceError("MILLRACE_CLOSED", "The mill is closed"));
    await inTurn([
      () => this.#peers?.leave(),
      // Uploads have a moment yet, for which they need credentials; who else waits for some is not waited for.
      () => this.#saves.settle(),
      () => this.#origins.close(),
      () => this.#writes.close(),
      () => this.#saves.close(),
      () => this.#datasets.close(),
      () => this.#files.close(),
      () => this.#cache.close(),
      () => this.#peers?.close(),
      () => this.#mounts.close(),
      () => this.#io?.close(),
      () => this.#refresh(),
    ]);
  }
}

function handedOver(bytes: Uint8Array<ArrayBuffer>): Transfer<Uint8Array> {
  return new Transfer(bytes, [bytes.buffer]);
}
