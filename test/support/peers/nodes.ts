/** Nodes of one process that share an origin: each with its block cache, its server on loopback, and its client. */

import type { ObjectVersion } from "../../../src/blocks/object-version.js";
import { BlockCache } from "../../../src/cache/tier-chain.js";
import type { PeerAuthOptions } from "../../../src/peers/auth.js";
import { GROUP_BYTES } from "../../../src/peers/group.js";
import type { PeerTls } from "../../../src/peers/listen.js";
import type { Member } from "../../../src/peers/member.js";
import { PeerClient, type PeerClientOptions } from "../../../src/peers/peer-client.js";
import { type PeerIdentity, PROTOCOL_VERSION } from "../../../src/peers/peer-protocol.js";
import { PeerServer, type PeerServerOptions } from "../../../src/peers/peer-server.js";
import { FakeStore, PIN } from "../../unit/cache/fake-store.js";

export const BLOCK = 64 * 1024;

export function identity(id: string, other: Partial<PeerIdentity> = {}): PeerIdentity {
  return { id, version: PROTOCOL_VERSION, blockSize: BLOCK, groupBytes: GROUP_BYTES, hashing: "test/1", weight: 1, labels: {}, ...other };
}

export interface NodeOptions {
  readonly blocks?: number;
  readonly identity?: Partial<PeerIdentity>;
  readonly auth?: PeerAuthOptions;
  readonly tls?: PeerTls;
  readonly server?: Partial<PeerServerOptions>;
  readonly client?: Partial<PeerClientOptions>;
}

export interface Node {
  readonly id: string;
  readonly cache: BlockCache;
  readonly server: PeerServer;
  readonly client: PeerClient;
}

export class Cluster {
  readonly store: FakeStore = new FakeStore();
  readonly nodes: Node[] = [];
  /** Ids in order of preference, as a node sees it. Default: as they were started. */
  order: (asker: string, group: number, objectId: string) => readonly string[] = () => this.nodes.map(({ id }) => id);
  /** Addresses of members: nodes put theirs in; a test may put others. */
  readonly urls = new Map<string, string>();

  async node(id: string, options: NodeOptions = {}): Promise<Node> {
    const { blocks = 512, auth, tls } = options;
    const self = identity(id, options.identity);
    let client: PeerClient | undefined;
    const cache = await BlockCache.open({
      memoryBytes: blocks * BLOCK,
      disk: [],
      blockSize: self.blockSize,
      sources: (slab) => {
        const owners = { ranked: (object: string, group: number) => this.#members(id, group, object) };
        client = new PeerClient({ self, owners, slab, originCostMs: () => undefined, auth, tls, ...options.client });
        return [client];
      },
    });
    const server = await PeerServer.start({
      listen: "127.0.0.1:0",
      identity: self,
      blocks: cache,
      resolve: ({ uri, size, etag }) =>
        uri.startsWith(`${this.store.uri}/`) ? this.object(uri.slice(this.store.uri.length + 1), size, etag) : undefined,
      auth,
      tls,
      ...options.server,
    });
    const node: Node = { id, cache, server, client: client! };
    this.nodes.push(node);
    this.urls.set(id, `${tls === undefined ? "http" : "https"}://127.0.0.1:${server.address.port}`);
    return node;
  }

  object(path: string, size: number, etag = "1"): ObjectVersion {
    return this.store.object(path, size, PIN, etag);
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(({ cache }) => cache.close()));
    await Promise.all(this.nodes.map(({ client }) => client.close()));
    await Promise.all(this.nodes.map(({ server }) => server.close()));
  }

  #members(asker: string, group: number, objectId: string): Member[] {
    return this.order(asker, group, objectId).map((id) => ({ id, weight: 1, labels: {}, url: this.urls.get(id) ?? "http://127.0.0.1:9" }));
  }
}
