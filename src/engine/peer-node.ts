/** This process among its peers: the tier that asks them, the server that answers them, and who they are. */
import { randomUUID } from "node:crypto";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import pLimit from "p-limit";
import type { PeerInfo } from "../api.js";
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import type { SlotSource } from "../cache/block-loader.js";
import { LAYOUT, LISTENER } from "../cache/disk-layout.js";
import type { CacheLog } from "../cache/disk-tier.js";
import { FileLock, PATIENT } from "../cache/file-lock.js";
import { thisProcess } from "../cache/process-identity.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import type { PeersConfig } from "../options.js";
import { formatAddress, parseAddress } from "../peers/discovery/address.js";
import { parseDiscover } from "../peers/discovery/discover-spec.js";
import { type Discovery, openDiscovery } from "../peers/discovery/discovery.js";
import { GROUP_BYTES, groupOf } from "../peers/group.js";
import type { Held } from "../peers/held-protocol.js";
import { checkListen, type ListenAddress } from "../peers/listen.js";
import type { Member } from "../peers/member.js";
import { Membership, type Stranger } from "../peers/membership.js";
import { PeerClient, type PeerClientStats } from "../peers/peer-client.js";
import type { PeerServerCounters } from "../peers/peer-counters.js";
import { type PeerIdentity, PROTOCOL_VERSION } from "../peers/peer-protocol.js";
import { PeerServer, type PeerServerOptions } from "../peers/peer-server.js";
import { HASHING, Owners } from "../peers/rendezvous.js";
import { Election } from "./node-election.js";
import { storedId } from "./node-id.js";

/** Discovery and the first handshakes may take so long before the mill opens without them: they go on beside it. */
const JOIN_WITHIN_MS = 5_000;
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
  readonly #address: ListenAddress | undefined;
  readonly #directory: string | undefined;
  readonly #context: PeerNodeContext;
  readonly #identity: PeerIdentity;
  readonly #specs;
  #owners: Owners;
  #blocks: BlockCache | undefined;
  #client: PeerClient | undefined;
  #server: PeerServer | undefined;
  #discovery: Discovery | undefined;
  #membership: Membership | undefined;
  #election: Election | undefined;

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
    this.#address = address;
    this.#directory = directory;
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
      timeoutMs: this.#config.timeoutMs,
      auth: this.#auth,
      tls: this.#config.tls,
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
    const { listen, tls } = this.#config;
    const { log } = this.#context;
    const serve = () =>
      listen === undefined
        ? undefined
        : PeerServer.start({ listen, identity: this.#identity, blocks, auth: this.#auth, tls, log, ...serving });
    const enter = async (listens: boolean): Promise<void> => {
      const server = listens ? await serve() : undefined;
      try {
        await this.#enter(server);
      } catch (error) {
        await server?.close();
        throw error;
      }
    };
    if (this.#directory === undefined) await enter(true);
    else {
      // Its folder is the disk tier's, which is open.
      const path = join(this.#directory, LAYOUT, LISTENER);
      const lock = new FileLock(path, await thisProcess(), { lockTakeovers: 0, lockTimeouts: 0 }, PATIENT);
      this.#election = new Election({ lock, enter, log });
      await this.#election.open();
    }
  }

  /** Announces the node where it is this process that answers for it, and looks for the others; what it did before ends. */
  async #enter(server: PeerServer | undefined): Promise<void> {
    const self = { ...this.#identity, url: server === undefined ? this.#nodeUrl : this.#url(server.address) };
    await this.#leave();
    this.#server = server;
    const log = { debug: this.#line("debug"), info: this.#line("info"), warn: this.#line("warn") };
    this.#discovery = openDiscovery(this.#specs, self, { log, announces: server !== undefined });
    await withinMs(JOIN_WITHIN_MS, this.#meet(this.#discovery, self));
  }

  /** Who was a member stays one until the engines of discovery have answered. */
  async #meet(discovery: Discovery, self: Member & PeerIdentity): Promise<void> {
    await discovery.ready;
    if (this.#discovery !== discovery) return;
    const client = this.#client!;
    this.#membership = new Membership({
      self,
      discovery,
      scheme: this.#config.tls === undefined ? "http" : "https",
      identify: (url, signal) => client.identify(url, signal),
      unreachableSince: (id) => client.unreachableSince(id),
      mistaken: (id) => client.mistaken(id),
      changed: (members) => this.#changed(members),
      log: this.#context.log,
    });
    await this.#membership.ready;
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
      listening: this.#server !== undefined,
      members: this.#owners.members,
      strangers: this.#membership?.strangers() ?? [],
      served: this.#server?.counters,
    };
  }

  /** Takes back the announcement, finishes what peers have asked for, and is asked no more. */
  async leave(): Promise<void> {
    const leave = () => this.#leave();
    await (this.#election === undefined ? leave() : this.#election.close(leave));
  }

  /** Requests to peers fail from here on. */
  async close(): Promise<void> {
    await this.#client?.close();
  }

  async #leave(): Promise<void> {
    const [membership, discovery, server] = [this.#membership, this.#discovery, this.#server];
    this.#membership = this.#discovery = undefined;
    await membership?.close();
    await discovery?.close();
    await server?.close();
  }

  /** Where the node is reached through another of its processes; empty where only that one knows its port. */
  get #nodeUrl(): string {
    if (this.#address === undefined) return NOWHERE;
    const { host = "::", port } = this.#address;
    return port === 0 ? "" : this.#url({ host, port });
  }

  get #auth(): { secret: string } | undefined {
    const { secret } = this.#config;
    return secret === undefined ? undefined : { secret };
  }

  #changed(members: readonly Member[]): void {
    this.#owners = new Owners(members);
    this.#client!.retain(members);
    void this.#blocks!.ownersChanged();
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
