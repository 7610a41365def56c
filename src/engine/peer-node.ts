/** This process among its peers: the tier that asks them, the server that answers them, and who they are. */
import { randomUUID } from "node:crypto";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import type { SlotSource } from "../cache/block-loader.js";
import { LAYOUT, LISTENER } from "../cache/disk-layout.js";
import type { CacheLog } from "../cache/disk-tier.js";
import { FileLock, PATIENT } from "../cache/file-lock.js";
import { thisProcess } from "../cache/process-identity.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError } from "../errors.js";
import type { PeersConfig } from "../options.js";
import { formatAddress, parseAddress } from "../peers/discovery/address.js";
import { parseDiscover } from "../peers/discovery/discover-spec.js";
import { type Discovery, openDiscovery } from "../peers/discovery/discovery.js";
import { GROUP_BYTES } from "../peers/group.js";
import { checkListen, type ListenAddress } from "../peers/listen.js";
import type { Member } from "../peers/member.js";
import { Membership, type Stranger } from "../peers/membership.js";
import { PeerClient, type PeerClientStats } from "../peers/peer-client.js";
import type { PeerServerCounters } from "../peers/peer-counters.js";
import { type ObjectIdentity, type PeerIdentity, PROTOCOL_VERSION } from "../peers/peer-protocol.js";
import { PeerServer } from "../peers/peer-server.js";
import { HASHING, Owners } from "../peers/rendezvous.js";
import { Election } from "./node-election.js";
import { storedId } from "./node-id.js";

/** Discovery and the first handshakes may take so long before the mill opens without them: they go on beside it. */
const JOIN_WITHIN_MS = 5_000;

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

export class PeerNode {
  readonly #config: PeersConfig;
  readonly #address: ListenAddress;
  readonly #directory: string | undefined;
  readonly #context: PeerNodeContext;
  readonly #identity: PeerIdentity;
  readonly #specs;
  #owners: Owners;
  #client: PeerClient | undefined;
  #server: PeerServer | undefined;
  #discovery: Discovery | undefined;
  #membership: Membership | undefined;
  #election: Election | undefined;

  /** `directory`: where the node keeps its id; without one it is a new node at each start. Throws MILLRACE_CONFIG. */
  static async open(config: PeersConfig, directory: string | undefined, context: PeerNodeContext): Promise<PeerNode> {
    const address = checkListen(config.listen, config.secret, config.tls);
    const id = directory === undefined ? randomUUID() : await storedId(directory);
    return new PeerNode(config, address, { id, directory }, context);
  }

  private constructor(
    config: PeersConfig,
    address: ListenAddress,
    { id, directory }: { readonly id: string; readonly directory: string | undefined },
    context: PeerNodeContext,
  ) {
    this.#config = config;
    this.#address = address;
    this.#directory = directory;
    this.#context = context;
    this.#specs = parseDiscover(config.discover);
    const { weight, labels } = config;
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
   * Listens, where no other process of this node does, then looks for the others. Throws MILLRACE_CONFIG where the address is taken or an
   * engine of discovery can never work.
   */
  async join(blocks: BlockCache, resolve: (object: ObjectIdentity) => Promise<ObjectVersion | undefined>): Promise<void> {
    const { listen, tls } = this.#config;
    const { log } = this.#context;
    const serve = () => PeerServer.start({ listen, identity: this.#identity, blocks, resolve, auth: this.#auth, tls, log });
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
      changed: (members) => this.#changed(members),
      log: this.#context.log,
    });
    await this.#membership.ready;
  }

  /** So many processes of this node ask its peers. */
  divide(processes: number): void {
    this.#client!.divide(processes);
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
