import { afterEach, describe } from "vitest";
import type { ObjectVersion } from "../../src/blocks/object-version.js";
import type { Slab } from "../../src/blocks/slab.js";
import { BlockCache } from "../../src/cache/tier-chain.js";
import { PeerClient } from "../../src/peers/peer-client.js";
import { PeerServer } from "../../src/peers/peer-server.js";
import { identity } from "../support/peers/nodes.js";
import { BLOCK, blockSourceContract, type SourceUnderTest } from "./block-source-contract.js";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

/** A client whose only peer has the object's store too. */
function peerSource(slab: Slab): SourceUnderTest {
  let asked: ObjectVersion | undefined;
  let started: Promise<PeerClient> | undefined;
  const start = async (): Promise<PeerClient> => {
    const cache = await BlockCache.open({ memoryBytes: 8 * BLOCK, disk: [], blockSize: BLOCK });
    const server = await PeerServer.start({ listen: "127.0.0.1:0", identity: identity("owner"), blocks: cache, resolve: () => asked });
    const owner = { id: "owner", weight: 1, labels: {}, url: `http://127.0.0.1:${server.address.port}` };
    const client = new PeerClient({ self: identity("me"), owners: { ranked: () => [owner] }, slab, originCostMs: () => undefined });
    open.push(client, cache, server);
    return client;
  };
  return {
    read: async (object, ...rest) => {
      asked = object;
      started ??= start();
      return (await started).read(object, ...rest);
    },
  };
}

describe("PeerClient", () => blockSourceContract(peerSource, true));
