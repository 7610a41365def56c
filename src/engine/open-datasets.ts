/** The datasets and loaders that are open, by the numbers that the caller's side knows them by. */
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError } from "../errors.js";
import { batchBuffers } from "../loader/assemble.js";
import type { OpenDataset, OpenedDataset, OpenLoader, ReadRows } from "../loader/protocol.js";
import { combinedSignal } from "../util/combined-signal.js";
import { probeFields, readRows } from "./batch-maker.js";
import { type DatasetOpener, type EngineDataset, openDataset } from "./datasets.js";
import { EngineLoader, type LoaderContext } from "./loaders.js";
import { type CallContext, Transfer } from "./rpc.js";

export class OpenDatasets {
  readonly #opener: DatasetOpener;
  readonly #context: LoaderContext;
  readonly #closing: AbortSignal;
  readonly #datasets = new Map<number, EngineDataset>();
  /** Also those that are still being opened. */
  readonly #loaders = new Map<number, Promise<EngineLoader>>();
  #nextId = 1;

  /** `closing` ends the loaders that are being opened. */
  constructor(opener: DatasetOpener, context: LoaderContext, closing: AbortSignal) {
    this.#opener = opener;
    this.#context = context;
    this.#closing = closing;
  }

  async open(request: OpenDataset, context: CallContext): Promise<OpenedDataset> {
    const dataset = await openDataset(
      this.#opener,
      request,
      (opened, declared, signal) => probeFields(opened, declared, this.#cache, signal),
      context,
    );
    const datasetId = this.#nextId++;
    this.#datasets.set(datasetId, dataset);
    return { datasetId, manifest: dataset.manifest.toShared(), fields: dataset.fields };
  }

  async readRows(request: ReadRows, { signal }: CallContext): Promise<Transfer<Awaited<ReturnType<typeof readRows>>>> {
    const dataset = this.#dataset(request.datasetId);
    const batch = await readRows(dataset, dataset.rows(request.steps), request.rows, this.#cache, signal);
    return new Transfer(batch, batchBuffers(batch));
  }

  async openLoader(request: OpenLoader, { signal: asked }: CallContext): Promise<void> {
    const signal = combinedSignal(asked, this.#closing);
    const opening = EngineLoader.open(request, this.#dataset(request.datasetId), this.#context, signal);
    this.#loaders.set(request.loaderId, opening);
    try {
      await opening;
    } catch (error) {
      this.#loaders.delete(request.loaderId);
      throw this.#closing.aborted ? this.#closing.reason : error;
    }
  }

  /** Throws MILLRACE_CLOSED. */
  loader(id: number): Promise<EngineLoader> {
    const loader = this.#loaders.get(id);
    if (loader === undefined) throw new MillraceError("MILLRACE_CLOSED", "The loader is closed");
    return loader;
  }

  async closeLoader(id: number): Promise<void> {
    const opening = this.#loaders.get(id);
    this.#loaders.delete(id);
    const loader = await opening?.catch(() => undefined); // Whoever opened it has heard of the failure.
    await loader?.close();
  }

  /** Ends all runs and decode workers. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#loaders.keys()].map((id) => this.closeLoader(id)));
  }

  get #cache(): BlockCache {
    return this.#context.cache;
  }

  #dataset(id: number): EngineDataset {
    const dataset = this.#datasets.get(id);
    if (dataset === undefined) throw new MillraceError("MILLRACE_CLOSED", "The dataset's mill is closed");
    return dataset;
  }
}
