/** This process among its peers: the tier that asks them, the server that answers them, and who they are. */
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import pLimit from "p-limit";
import type { PeerInfo } from "../api.js";
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import type { SlotSource } from "../cache/block-loader.js";
import type { CacheLog } from "../cache/disk-tier.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import type { PeersConfig } from "../options.js";
import { formatAddress, parseAddress } from "../peers/discovery/address.js";
import { parseDiscover } from "../peers/discovery/discover-spec.js";
import { type Discovery, openDiscovery } from "../peers/discovery/discovery.js";
import { GROUP_BYTES, groupOf } from "../peers/group.js";
import type { Held } from "../peers/held-protocol.js";
import { checkListen } from "../peers/listen.js";
import type { Member } from "../peers/member.js";
import { Membership, type Stranger } from "../peers/membership.js";
import { PeerClient, type PeerClientStats } from "../peers/peer-client.js";
import type { PeerServerCounters } from "../peers/peer-counters.js";
import { type PeerIdentity, PROTOCOL_VERSION } from "../peers/peer-protocol.js";
import { PeerServer, type PeerServerOptions } from "../peers/peer-server.js";
import { HASHING, Owners } from "../peers/rendezvous.js";

/** Discovery and the first handshakes may take so long before the mill opens without them: they go on beside it. */
const JOIN_WITHIN_MS = 5_000;
/** Peers asked at once for what they hold. */
const ASKED_AT_ONCE = 32;
/** Beside the cache directory's layout, which is removed with it. */
const ID_FILE = "node-id";

export interface PeerNodeContext {
  readonly blockSize: number;
  /** What the origin takes for a span, milliseconds; undefined while it is not known. */
  readonly originCostMs: () => number | undefined;
  readonly log: CacheLog;
}

export interface PeerNodeStats extends PeerClientStats {
  /** This one included. */
  readonly members: readonly Member[];
  readonly strangers: readonly Stranger[];
  readonly served: PeerServerCounters | undefined;
}

/** How this node answers for what it has. */
export type Serving = Pick<PeerServerOptions, "resolve" | "heldBelow">;

/** What another node holds of what was asked about; `error` where it did not say. */
export interface NodeHoldings {
  readonly member: Member;
  readonly bytes: number;
  readonly error: Error | undefined;
}

/** Of a process that only asks: no other can have it. */
const NOWHERE = "http://0.0.0.0:1";

export class PeerNode {
  readonly #config: PeersConfig;
  readonly #context: PeerNodeContext;
  readonly #identity: PeerIdentity;
  readonly #specs;
  #owners: Owners;
  #client: PeerClient | undefined;
  #server: PeerServer | undefined;
  #discovery: Discovery | undefined;
  #membership: Membership | undefined;

  /** `directory`: where the node keeps its id; without one it is a new node at each start. Throws MILLRACE_CONFIG. */
  static async open(config: PeersConfig, directory: string | undefined, context: PeerNodeContext): Promise<PeerNode> {
    if (config.listen !== undefined) checkListen(config.listen, config.secret, config.tls);
    // Who only asks may share a directory with a node that serves, and is not it: that node fetches what both need.
    const id = directory === undefined || config.listen === undefined ? randomUUID() : await storedId(directory);
    return new PeerNode(config, id, context);
  }

  private constructor(config: PeersConfig, id: string, context: PeerNodeContext) {
    this.#config = config;
    this.#context = context;
    this.#specs = parseDiscover(config.discover);
    const { labels } = config;
    // Who does not answer cannot own.
    const weight = config.listen === undefined ? 0 : config.weight;
    this.#identity = {
      id,
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
    this.#client = new PeerClient({
      self: this.#identity,
      owners: { ranked: (...asked) => this.#owners.ranked(...asked) },
      slab,
      originCostMs,
      auth: this.#auth,
      tls: this.#config.tls,
      log,
    });
    return this.#client;
  }

  /**
   * Listens, unless it only asks, then looks for the others. Throws MILLRACE_CONFIG where the address is taken or an engine of discovery can
   * never work.
   */
  async join(blocks: BlockCache, serving: Serving): Promise<void> {
    const { listen, tls } = this.#config;
    const { log } = this.#context;
    if (listen !== undefined)
      this.#server = await PeerServer.start({ listen, identity: this.#identity, blocks, auth: this.#auth, tls, log, ...serving });
    const self = { ...this.#identity, url: this.#server === undefined ? NOWHERE : this.#url(this.#server.address) };
    const logger = { debug: this.#line("debug"), info: this.#line("info"), warn: this.#line("warn") };
    this.#discovery = openDiscovery(this.#specs, self, { log: logger, announces: listen !== undefined });
    const client = this.#client!;
    this.#membership = new Membership({
      self,
      discovery: this.#discovery,
      scheme: tls === undefined ? "http" : "https",
      identify: (url, signal) => client.identify(url, signal),
      unreachableSince: (id) => client.unreachableSince(id),
      mistaken: (id) => client.mistaken(id),
      changed: (members) => this.#changed(members),
      log,
    });
    await withinMs(JOIN_WITHIN_MS, this.#firstLook(this.#discovery, this.#membership));
  }

  /** This node, as the others know it; undefined where it only asks. */
  get self(): Member | undefined {
    return this.#config.listen === undefined ? undefined : this.#owners.members.find(({ id }) => id === this.#identity.id);
  }

  /** Whose the bytes at `begin` of the object are to hold; undefined where this node holds them. */
  ownerOf(object: ObjectVersion, begin: number): Member | undefined {
    const owner = this.#owners.owner(object.id, groupOf(begin), object.size);
    return owner?.id === this.#identity.id ? undefined : owner;
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
      if (id === this.#identity.id) return { id, url: this.#server && url, weight, labels, state: "self", reason: undefined };
      const state = broken.get(id);
      const reason = state && (state.lastError ?? state.reason);
      return { id, url, weight, labels, state: state === undefined ? "member" : "broken", reason };
    });
    const strangers = (this.#membership?.strangers() ?? []).map(
      ({ id, url, reason }): PeerInfo => ({ id, url, weight: undefined, labels: {}, state: "stranger", reason }),
    );
    return [...members.sort((a, b) => Number(b.state === "self") - Number(a.state === "self")), ...strangers];
  }

  stats(): PeerNodeStats {
    const client = this.#client!.stats();
    return {
      ...client,
      members: this.#owners.members,
      strangers: this.#membership?.strangers() ?? [],
      served: this.#server?.counters,
    };
  }

  /** Takes back the announcement, finishes what peers have asked for, and is asked no more. */
  async leave(): Promise<void> {
    await this.#membership?.close();
    await this.#discovery?.close();
    await this.#server?.close();
  }

  /** Requests to peers fail from here on. */
  async close(): Promise<void> {
    await this.#client?.close();
  }

  get #auth(): { secret: string } | undefined {
    const { secret } = this.#config;
    return secret === undefined ? undefined : { secret };
  }

  async #firstLook(discovery: Discovery, membership: Membership): Promise<void> {
    await discovery.ready;
    await membership.ready;
  }

  #changed(members: readonly Member[]): void {
    this.#owners = new Owners(members);
    this.#client!.retain(members);
    this.#context.log("info", { members: members.map(({ id, url }) => ({ id, url })) }, "The peers that share the cache have changed");
  }

  #line(level: "debug" | "info" | "warn") {
    return (fields: object, message: string) => this.#context.log(level, fields, message);
  }

  /** Where the others reach this node. */
  #url({ host, port }: { readonly host: string; readonly port: number }): string {
    const { advertise, tls } = this.#config;
    const scheme = tls === undefined ? "http" : "https";
    if (advertise === undefined) return `${scheme}://${formatAddress({ host: reachable(host), port })}`;
    const address = parseAddress(advertise) ?? parseAddress(formatAddress({ host: advertise, port }));
    if (address === undefined)
      throw new MillraceError("MILLRACE_CONFIG", `peers.advertise: expected a host, or host:port, got ${JSON.stringify(advertise)}`);
    return `${scheme}://${formatAddress(address)}`;
  }
}

/** Every address of this machine is listened at: the first that others may reach. */
function reachable(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outer = addresses.filter(({ internal }) => !internal);
  return (outer.find(({ family }) => family === "IPv4") ?? outer[0])?.address ?? "127.0.0.1";
}

/** Of two processes that make one at once, the first one's counts. */
async function storedId(directory: string): Promise<string> {
  const path = join(directory, ID_FILE);
  await writeFile(path, randomUUID(), { flag: "wx" }).catch(() => {});
  const id = await readFile(path, "utf8").catch(() => "");
  // A crash may leave it empty; one that cannot be kept is a new node's at each start.
  return /^[0-9a-f-]{36}$/.test(id) ? id : randomUUID();
}

async function withinMs(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  work.catch(() => {});
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
