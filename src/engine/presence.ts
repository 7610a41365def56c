/** This process's presence among its peers: it listens, unless another process of its node does, is announced, looks for the others, and leaves. */
import { join } from "node:path";
import { LAYOUT, LISTENER } from "../cache/disk-layout.js";
import type { CacheLog } from "../cache/disk-tier.js";
import { FileLock, PATIENT } from "../cache/file-lock.js";
import { thisProcess } from "../cache/process-identity.js";
import type { BlockCache } from "../cache/tier-chain.js";
import type { PeersConfig } from "../options.js";
import { servingBytes } from "../peers/asker-limits.js";
import type { Stranger } from "../peers/contact.js";
import type { DiscoverSpec } from "../peers/discovery/discover-spec.js";
import { type Discovery, openDiscovery } from "../peers/discovery/discovery.js";
import type { ListenAddress } from "../peers/listen.js";
import type { Member } from "../peers/member.js";
import { Membership } from "../peers/membership.js";
import type { PeerClient } from "../peers/peer-client.js";
import type { PeerIdentity } from "../peers/peer-protocol.js";
import { PeerServer, type PeerServerOptions } from "../peers/peer-server.js";
import { ProbeServer } from "../peers/probe-server.js";
import { memoryLimit } from "../util/cgroup.js";
import { advertisedUrl, nodeUrl } from "./node-address.js";
import { Election } from "./node-election.js";

/** Discovery and the first handshakes may take so long before the mill opens without them: they go on beside it. */
const JOIN_WITHIN_MS = 5_000;

/** How this node answers for what it has. */
export type Serving = Pick<PeerServerOptions, "resolve" | "heldBelow">;

export interface PresenceParts {
  readonly config: PeersConfig;
  /** `config.discover`, taken apart. */
  readonly specs: readonly DiscoverSpec[];
  /** `config.listen`, taken apart; undefined where it only asks. */
  readonly address: ListenAddress | undefined;
  /** Where the processes of the node agree on which one listens; undefined where there are no others. */
  readonly directory: string | undefined;
  readonly identity: PeerIdentity;
  readonly client: PeerClient;
  /** The list of members in use. */
  readonly members: () => readonly Member[];
  /** There is a new one. */
  readonly changed: (members: readonly Member[]) => void;
  readonly log: CacheLog;
}

/** What a process has while it answers for its node. */
interface Listeners {
  readonly server: PeerServer;
  readonly probes: ProbeServer | undefined;
}

export class Presence {
  readonly #parts: PresenceParts;
  #listeners: Listeners | undefined;
  #discovery: Discovery | undefined;
  #membership: Membership | undefined;
  #election: Election | undefined;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  /** Undefined where this process does not answer peers. */
  get server(): PeerServer | undefined {
    return this.#listeners?.server;
  }

  strangers(): readonly Stranger[] {
    return this.#membership?.strangers() ?? [];
  }

  /** Throws MILLRACE_CONFIG where the address is taken or an engine of discovery can never work. */
  async join(blocks: BlockCache, serving: Serving): Promise<void> {
    const { directory, log } = this.#parts;
    const enter = async (listens: boolean): Promise<void> => {
      const listeners = listens ? await this.#listen(blocks, serving) : undefined;
      try {
        await this.#enter(listeners);
      } catch (error) {
        await this.#closeAll([listeners?.server, listeners?.probes]);
        throw error;
      }
    };
    if (directory === undefined) return enter(true);
    // Its folder is the disk tier's, which is open.
    const path = join(directory, LAYOUT, LISTENER);
    const lock = new FileLock(path, await thisProcess(), { lockTakeovers: 0, lockTimeouts: 0 }, PATIENT);
    this.#election = new Election({ lock, enter, log });
    await this.#election.open();
  }

  /** Takes back the announcement, finishes what peers have asked for, and is asked no more. What fails of it is logged. */
  async leave(): Promise<void> {
    const leave = () => this.#leave();
    await (this.#election === undefined ? leave() : this.#election.close(leave));
  }

  /** Undefined where it only asks. */
  async #listen(blocks: BlockCache, serving: Serving): Promise<Listeners | undefined> {
    const { config, identity, log } = this.#parts;
    const { listen, health, secret, tls } = config;
    if (listen === undefined) return undefined;
    const limits = { bytes: servingBytes(memoryLimit()) };
    const auth = secret === undefined ? undefined : { secret };
    const server = await PeerServer.start({ listen, identity, blocks, auth, tls, limits, log, ...serving });
    try {
      return { server, probes: health === undefined ? undefined : await ProbeServer.start(health) };
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Announces the node where it is this process that answers for it, and looks for the others; what it did before ends. */
  async #enter(listeners: Listeners | undefined): Promise<void> {
    const { config, specs, address, identity, log } = this.#parts;
    const { instance: _instance, ...node } = identity;
    const self =
      listeners === undefined
        ? { ...node, url: nodeUrl(config, address) }
        : { ...identity, url: advertisedUrl(config, listeners.server.address) };
    await this.#leave();
    this.#listeners = listeners;
    const line = (level: "debug" | "info" | "warn") => (fields: object, message: string) => log(level, fields, message);
    const lines = { debug: line("debug"), info: line("info"), warn: line("warn") };
    this.#discovery = openDiscovery(specs, self, { log: lines, announces: listeners !== undefined });
    await withinMs(JOIN_WITHIN_MS, this.#meet(this.#discovery, self));
  }

  /** Who was a member stays one until the engines of discovery have answered, and it has been asked. */
  async #meet(discovery: Discovery, self: Member & PeerIdentity): Promise<void> {
    await discovery.ready;
    if (this.#discovery !== discovery) return;
    const { config, client, members, changed, log } = this.#parts;
    this.#membership = new Membership({
      self,
      before: members().filter(({ id }) => id !== self.id),
      discovery,
      scheme: config.tls === undefined ? "http" : "https",
      identify: (url, signal) => client.identify(url, signal),
      unreachableSince: (id) => client.unreachableSince(id),
      mistaken: (id) => client.mistaken(id),
      recovered: (id) => client.retain(members().filter((member) => member.id !== id)),
      changed,
      log,
    });
    await this.#membership.ready;
  }

  async #leave(): Promise<void> {
    const [membership, discovery, listeners] = [this.#membership, this.#discovery, this.#listeners];
    this.#membership = this.#discovery = undefined;
    listeners?.probes?.notReady();
    await this.#closeAll([membership, discovery, listeners?.server, listeners?.probes]);
  }

  /** Each of them, whatever becomes of the others: an announcement runs out by itself. */
  async #closeAll(parts: readonly ({ close(): Promise<void> } | undefined)[]): Promise<void> {
    for (const part of parts)
      await part?.close().catch((error: Error) => {
        this.#parts.log("warn", { error: error.message }, "This node could not leave its peers as it should");
      });
  }
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
