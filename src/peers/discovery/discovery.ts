import type { Logger } from "../../api.js";
import { MillraceError } from "../../errors.js";
import { type Clock, idleClock } from "../../util/clock.js";
import { addressOfUrl } from "./address.js";
import type { DiscoverSpec } from "./discover-spec.js";
import { DnsEngine } from "./dns-engine.js";
import type { Engine } from "./engine.js";
import { type EngineFigures, EngineWatch } from "./engine-watch.js";
import { FileEngine } from "./file-engine.js";
import type { Announcement, FoundPeer } from "./found-peer.js";
import { mergePeers } from "./merge-peers.js";
import { RedisEngine } from "./redis-engine.js";

/** Which other peers there are, by all engines of `peers.discover` together. */
export interface Discovery {
  /** Each id once and each address once, this process left out; the same array until something changes. */
  members(): readonly FoundPeer[];
  /** Calls back after each change of `members()`; the returned function ends that. */
  onChange(listener: () => void): () => void;
  /** Resolves once each engine has answered or failed for the first time. Rejects with MILLRACE_CONFIG where an engine can never work. */
  readonly ready: Promise<void>;
  /** Figures of each engine, in the order of the option; addresses written out have none. */
  stats(): readonly EngineFigures[];
  /** Ends timers, watchers and connections, and takes back the announcement. Idempotent. `members()` keeps its last value. */
  close(): Promise<void>;
}

export interface DiscoveryOptions {
  readonly log: Pick<Logger, "debug" | "info" | "warn">;
  /** Default: one whose timers do not keep the process alive. */
  readonly clock?: Clock;
  /** Uniform in [0, 1), for the pauses after failures. Default: Math.random. */
  readonly random?: () => number;
  /** False where another process of this node does it: then engines are only read. Default: true. */
  readonly announces?: boolean;
}

/** Begins to look for peers at once. `specs` come from `parseDiscover`. Throws MILLRACE_CONFIG where it announces and `self.url` is not `http://host:port`. */
export function openDiscovery(specs: readonly DiscoverSpec[], self: Announcement, options: DiscoveryOptions): Discovery {
  return new MergedDiscovery(specs, self, options);
}

class MergedDiscovery implements Discovery {
  readonly ready: Promise<void>;
  readonly #self: Parameters<typeof mergePeers>[1];
  readonly #written: readonly FoundPeer[];
  readonly #watches: readonly EngineWatch[];
  readonly #listeners = new Set<() => void>();
  #members: readonly FoundPeer[] = [];

  constructor(specs: readonly DiscoverSpec[], self: Announcement, { log, announces = true, ...rest }: DiscoveryOptions) {
    const address = addressOfUrl(self.url);
    if (address === undefined && announces)
      throw new MillraceError("MILLRACE_CONFIG", "peers.advertise: expected host:port, or http://host:port");
    const { clock = idleClock, random = Math.random } = rest;
    this.#self = { id: self.id, ...address };
    this.#written = specs.flatMap((spec) => (spec.kind === "static" ? spec.addresses : []));
    this.#watches = specs
      .flatMap((spec) => (spec.kind === "static" ? [] : engineOf(spec, announces ? self : undefined, clock)))
      .map((engine) => new EngineWatch(engine, () => this.#merge(), { log, clock, random }));
    this.#merge();
    this.ready = Promise.all(this.#watches.map((watch) => watch.ready)).then(() => {});
    this.ready.catch(() => {}); // As with each of them.
  }

  members(): readonly FoundPeer[] {
    return this.#members;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stats(): readonly EngineFigures[] {
    return this.#watches.map((watch) => watch.figures());
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await Promise.all(this.#watches.map((watch) => watch.close()));
  }

  #merge(): void {
    const members = mergePeers([this.#written, ...this.#watches.map((watch) => watch.peers)], this.#self);
    if (JSON.stringify(members) === JSON.stringify(this.#members)) return;
    this.#members = members;
    for (const listener of [...this.#listeners]) listener();
  }
}

function engineOf(spec: Exclude<DiscoverSpec, { kind: "static" }>, self: Announcement | undefined, clock: Clock): Engine {
  if (spec.kind === "dns") return new DnsEngine(spec);
  if (spec.kind === "redis") return new RedisEngine(spec, self, clock);
  return new FileEngine(spec);
}
