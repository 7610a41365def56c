/** Where the data is: how much of a prefix each node of the cluster holds. */
import { hostname } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import type { NodeShare } from "../api.js";
import { objectVersion } from "../blocks/object-version.js";
import type { CacheLog } from "../cache/disk-tier.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError } from "../errors.js";
import type { Mounts, Place } from "./mounts.js";
import type { PeerNode } from "./peer-node.js";
import type { Sources } from "./sources.js";

/** Objects looked at in one go: 5 ms of the engine's thread. */
const IN_ONE_GO = 1000;
/** What a peer was told is told again for that long, milliseconds, so that many who ask at once cost one look. */
const ANSWER_TTL_MS = 2_000;
/** Prefixes that are asked about at one time. */
const MAX_ANSWERS = 64;

export interface LocatorParts {
  readonly mounts: Mounts;
  readonly sources: Sources;
  readonly cache: BlockCache;
  readonly peers: PeerNode | undefined;
  readonly log: CacheLog;
}

interface Holding {
  readonly objects: number;
  readonly bytes: number;
  /** Of these, those that this node holds. */
  readonly held: number;
}

export class Locator {
  readonly #parts: LocatorParts;
  readonly #answers = new LRUCache<string, Promise<number>>({ max: MAX_ANSWERS, ttl: ANSWER_TTL_MS });

  constructor(parts: LocatorParts) {
    this.#parts = parts;
  }

  /** Nodes by what they hold, most first. A node that does not answer is left out, and logged. Throws MILLRACE_NOT_FOUND where there is no data. */
  async locate(prefix: string, signal: AbortSignal): Promise<NodeShare[]> {
    const { mounts, peers, log } = this.#parts;
    const place = await mounts.resolve(prefix);
    const [own, others] = await Promise.all([
      this.#holding(place, signal),
      peers?.heldElsewhere(`${place.store.uri}/${place.path}`, signal) ?? [],
    ]);
    if (own.objects === 0) throw new MillraceError("MILLRACE_NOT_FOUND", `${prefix}: there are no objects below this prefix`);
    const share = (node: string, labels: NodeShare["labels"], bytes: number) => ({
      node,
      labels,
      bytes,
      share: own.bytes === 0 ? 0 : bytes / own.bytes,
    });
    for (const { member, error } of others)
      if (error !== undefined) log("warn", { peer: member.id, url: member.url, error: error.message }, "A peer does not say what it holds");
    const shares = others.filter(({ error }) => error === undefined).map(({ member, bytes }) => share(member.id, member.labels, bytes));
    const self = peers === undefined ? { id: hostname(), labels: {} } : peers.self;
    if (self !== undefined) shares.push(share(self.id, self.labels, own.held));
    return shares.sort((a, b) => b.bytes - a.bytes || (a.node < b.node ? -1 : 1));
  }

  /** For a peer: what this node holds below a URI; undefined where none of its own mounts covers it. */
  async heldBelow(uri: string): Promise<number | undefined> {
    const place = await this.#parts.mounts.covering(uri);
    if (place === undefined) return undefined;
    const known = this.#answers.get(uri);
    if (known !== undefined) return known;
    const asked = this.#holding(place, undefined).then(({ held }) => held);
    this.#answers.set(uri, asked);
    asked.catch(() => this.#answers.delete(uri));
    return asked;
  }

  async #holding(place: Place, signal: AbortSignal | undefined): Promise<Holding> {
    const { sources, cache } = this.#parts;
    let [objects, bytes, held] = [0, 0, 0];
    for await (const { place: found, stored } of sources.at(place, signal)) {
      bytes += stored.size;
      held += cache.cachedBytes(objectVersion(found.store, stored, found.rules));
      if (++objects % IN_ONE_GO === 0) await turn();
    }
    return { objects, bytes, held };
  }
}
