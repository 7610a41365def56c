/** The prefetches that are under way, by the numbers that the caller's side knows them by. */
import type { PrefetchReport } from "../api.js";
import type { BlockCache } from "../cache/tier-chain.js";
import type { PrefetchSteps } from "../loader/protocol.js";
import type { EngineLoader } from "./loaders.js";
import type { PeerNode } from "./peer-node.js";
import { PrefetchRun, type PrefetchTerms } from "./prefetch.js";
import { type LostItem, loaderItems, type PrefetchItem, wholeObjects } from "./prefetch-items.js";
import type { CallContext } from "./rpc.js";
import type { Sources } from "./sources.js";

export interface PrefetchRequest extends PrefetchTerms {
  readonly id: number;
  readonly source: string | readonly string[] | PrefetchSteps;
}

export interface PrefetchesParts {
  readonly cache: BlockCache;
  readonly peers: PeerNode | undefined;
  readonly sources: Sources;
  /** Throws MILLRACE_CLOSED where there is none. */
  readonly loader: (id: number) => Promise<EngineLoader>;
}

export class Prefetches {
  readonly #parts: PrefetchesParts;
  readonly #runs = new Map<number, PrefetchRun>();

  constructor(parts: PrefetchesParts) {
    this.#parts = parts;
  }

  async run(request: PrefetchRequest, context: CallContext): Promise<PrefetchReport> {
    const run = new PrefetchRun(this.#parts.cache, this.#parts.peers, request);
    this.#runs.set(request.id, run);
    try {
      const lost: LostItem[] = [];
      return await run.run(await this.#items(request.source, lost, context.signal), lost, context);
    } finally {
      this.#runs.delete(request.id);
    }
  }

  steer({ id, pause }: { readonly id: number; readonly pause: boolean }): void {
    this.#runs.get(id)?.[pause ? "pause" : "resume"]();
  }

  async #items(source: PrefetchRequest["source"], lost: LostItem[], signal: AbortSignal): Promise<PrefetchItem[]> {
    const { sources, loader } = this.#parts;
    if (typeof source === "string" || Array.isArray(source))
      return wholeObjects(await sources.find(source as string | string[], signal, (path, error) => lost.push({ path, error })));
    const { loaderId, epoch, steps } = source as PrefetchSteps;
    return loaderItems((await loader(loaderId)).setup, epoch, steps);
  }
}
