/** This process among its peers: the tier that asks them, the server that answers them, and who they are. */
import { randomUUID } from "node:crypto";
import pLimit from "p-limit";
import type { PeerInfo } from "../api.js";
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import type { CacheLog } from "../cache/disk-tier.js";
import type { SlotSource } from "../cache/slot-source.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { throwIfAborted } from "../errors.js";
import type { PeersConfig } from "../options.js";
import type { Stranger } from "../peers/contact.js";
import { type DiscoverSpec, parseDiscover } from "../peers/discovery/discover-spec.js";
import { GROUP_BYTES, groupOf } from "../peers/group.js";
import type { Held } from "../peers/held-protocol.js";
import { checkListen, type ListenAddress } from "../peers/listen.js";
import type { Member } from "../peers/member.js";
import { PeerClient, type PeerClientStats } from "../peers/peer-client.js";
import type { PeerServerCounters } from "../peers/peer-counters.js";
import { type PeerIdentity, PROTOCOL_VERSION } from "../peers/peer-protocol.js";
import { HASHING, Owners } from "../peers/rendezvous.js";
import { storedId } from "./node-id.js";
import { Presence, type Serving } from "./presence.js";

/** Peers asked at once for what they hold. */
const ASKED_AT_ONCE = 32;

export interface PeerNodeContext {
  readonly blockSize: number;
  /** What the origin takes for a span, milliseconds; undefined while it is not known. */
  readonly originCostMs: () => number | undefined;
  readonly log: CacheLog;
}

export interface PeerNodeStats extends PeerClientStats {
  /** True in the one process of the node that answers peers. */
  readonly listening: boolean;
  /** This one included. */
  readonly members: readonly Member[];
  readonly strangers: readonly Stranger[];
  readonly served: PeerServerCounters | undefined;
}

/** What another node holds of what was asked about; `error` where it did not say. */
export interface NodeHoldings {
  readonly member: Member;
  readonly bytes: number;
  readonly error: Error | undefined;
}

export class PeerNode {
  readonly #config: PeersConfig;
  readonly #specs: readonly DiscoverSpec[];
  readonly #address: ListenAddress | undefined;
  readonly #directory: string | undefined;
  readonly #context: PeerNodeContext;
  readonly #identity: PeerIdentity;
  #owners: Owners;
  #blocks: BlockCache | undefined;
  #client: PeerClient | undefined;
  #presence: Presence | undefined;

  /** `directory`: where the node keeps its id; without one it is a new node at each start. Throws MILLRACE_CONFIG. */
  static async open(config: PeersConfig, directory: string | undefined, context: PeerNodeContext): Promise<PeerNode> {
    const address = config.listen === undefined ? undefined : checkListen(config.listen, config.secret, config.tls);
    // Who only asks may share a directory with a node that serves, and is not it: that node fetches what both need.
    const kept = address === undefined ? undefined : directory;
    const id = kept === undefined ? randomUUID() : await storedId(kept);
    return new PeerNode(config, address, { id, directory: kept }, context);
  }

  private constructor(
    config: PeersConfig,
    address: ListenAddress | undefined,
    { id, directory }: { readonly id: string; readonly directory: string | undefined },
    context: PeerNodeContext,
  ) {
    this.#config = config;
    this.#specs = parseDiscover(config.discover);
    this.#address = address;
    this.#directory = directory;
    this.#context = context;
    const { labels } = config;
    // Who does not answer cannot own.
    const weight = config.listen === undefined ? 0 : config.weight;
    this.#identity = {
      id,
      instance: randomUUID(),
      weight,
      labels,
      version: PROTOCOL_VERSION,
      blockSize: context.blockSize,
      groupBytes: GROUP_BYTES,
      hashing: HASHING,
    };
    // Alone until the others are found.
    this.#owners = new Owners([{ id, weight, labels, url: "" }]);
  }

  /** The tier between the disks and the origin. */
  source(slab: Slab): SlotSource {
    const { originCostMs, log } = this.#context;
    const { secret, tls } = this.#config;
    this.#client = new PeerClient({
      self: this.#identity,
      owners: { ranked: (...asked) => this.#owners.ranked(...asked) },
      slab,
      originCostMs,
      timeoutMs: this.#config.timeoutMs,
      auth: secret === undefined ? undefined : { secret },
      tls,
      log,
    });
    return this.#client;
  }

  /**
   * Listens, unless it only asks or another process of this node does, then looks for the others. Throws MILLRACE_CONFIG where the address is
   * taken or an engine of discovery can never work.
   */
  async join(blocks: BlockCache, serving: Serving): Promise<void> {
    this.#blocks = blocks;
    this.#presence = new Presence({
      config: this.#config,
      specs: this.#specs,
      address: this.#address,
      directory: this.#directory,
      identity: this.#identity,
      client: this.#client!,
      members: () => this.#owners.members,
      changed: (members) => this.#changed(members),
      log: this.#context.log,
    });
    await this.#presence.join(blocks, serving);
  }

  /** So many processes of this node ask its peers. */
  divide(processes: number): void {
    this.#client!.divide(processes);
  }

  /** This node, as the others know it; undefined where it only asks. */
  get self(): Member | undefined {
    return this.#config.listen === undefined ? undefined : this.#owners.members.find(({ id }) => id === this.#identity.id);
  }

  /** Whose the bytes at `begin` of the object are to hold; undefined where this node holds them. */
  ownerOf(object: ObjectVersion, begin: number): Member | undefined {
    return this.#client!.elsewhere(object, begin) ? this.#owners.owner(object.id, groupOf(begin), object.size) : undefined;
  }

  /** As PeerClient.hold. */
  hold(member: Member, object: ObjectVersion, demand: Pick<Demand, "begin" | "end" | "priority" | "signal">): Promise<Held> {
    return this.#client!.hold(member, object, demand);
  }

  /** What each of the others holds of what lies below a URI. */
  heldElsewhere(uri: string, signal: AbortSignal): Promise<NodeHoldings[]> {
    const others = this.#owners.members.filter(({ id, weight }) => id !== this.#identity.id && weight > 0);
    const limit = pLimit(ASKED_AT_ONCE);
    return Promise.all(
      others.map((member) =>
        limit(async () => {
          try {
            return { member, bytes: await this.#client!.heldBelow(member, uri, signal), error: undefined };
          } catch (error) {
            throwIfAborted(signal, "The question");
            return { member, bytes: 0, error: error as Error };
          }
        }),
      ),
    );
  }

  /** Who shares the cache, this node first, and who was found and does not. */
  peers(): PeerInfo[] {
    const { peers } = this.#client!.stats();
    const broken = new Map(peers.filter(({ state }) => state !== "closed").map((peer) => [peer.id, peer]));
    const members = this.#owners.members.map(({ id, url, weight, labels }): PeerInfo => {
      if (id === this.#identity.id) return { id, url: this.#presence?.server && url, weight, labels, state: "self", reason: undefined };
      const state = broken.get(id);
      const reason = state && (state.lastError ?? state.reason);
      return { id, url, weight, labels, state: state === undefined ? "member" : "broken", reason };
    });
    const strangers = (this.#presence?.strangers() ?? []).map(
      ({ id, url, reason }): PeerInfo => ({ id, url, weight: undefined, labels: {}, state: "stranger", reason }),
    );
    return [...members.sort((a, b) => Number(b.state === "self") - Number(a.state === "self")), ...strangers];
  }

  stats(): PeerNodeStats {
    const client = this.#client!.stats();
    return {
      ...client,
      listening: this.#presence?.server !== undefined,
      members: this.#owners.members,
      strangers: this.#presence?.strangers() ?? [],
      served: this.#presence?.server?.counters,
    };
  }

  /** Takes back the announcement, finishes what peers have asked for, and is asked no more. */
  async leave(): Promise<void> {
    await this.#presence?.leave();
  }

  /** Requests to peers fail from here on. */
  async close(): Promise<void> {
    await this.#client?.close();
  }

  #changed(members: readonly Member[]): void {
    const before = new Set(this.#owners.members.map(({ id }) => id));
    this.#owners = new Owners(members);
    this.#client!.retain(members);
    void this.#blocks!.ownersChanged();
    const joined = members.filter(({ id }) => !before.delete(id)).map(({ id, url }) => ({ id, url }));
    const fields = { members: members.length, joined, left: [...before] };
    this.#context.log("info", fields, "The peers that share the cache have changed");
  }
}
