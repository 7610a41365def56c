/** What blocks cost that a peer on this machine holds in memory: both sides, checksums and sockets, in one process. `npx tsx bench/micro/peer-blocks.ts` */
import { objectVersion } from "../../src/blocks/object-version.js";
import { BlockCache } from "../../src/cache/tier-chain.js";
import { GROUP_BYTES } from "../../src/peers/group.js";
import { PeerClient } from "../../src/peers/peer-client.js";
import { type PeerIdentity, PROTOCOL_VERSION } from "../../src/peers/peer-protocol.js";
import { PeerServer } from "../../src/peers/peer-server.js";
import type { Store } from "../../src/storage/store.js";

const MIB = 2 ** 20;
const AT_ONCE = 8;
const store: Store = {
  uri: "bench://",
  async *list() {},
  stat: () => Promise.reject(new Error("not asked")),
  readInto: async () => {},
};
const object = objectVersion(
  store,
  { path: "a", size: 256 * MIB, etag: "1", lastModified: undefined },
  { mount: "/a", admission: "pin", share: 1 },
);
const self = (id: string): PeerIdentity => ({
  id,
  version: PROTOCOL_VERSION,
  blockSize: MIB,
  groupBytes: GROUP_BYTES,
  hashing: "bench",
  weight: 1,
  labels: {},
});
const auth = { secret: "a secret of some length" };

const held = await BlockCache.open({ memoryBytes: 300 * MIB, disk: [], blockSize: MIB });
held.refer(object);
(await held.acquire(object, 0, object.size, { priority: 0 })).release();
const server = await PeerServer.start({ listen: "127.0.0.1:0", identity: self("owner"), blocks: held, resolve: () => object, auth });
const owner = { id: "owner", weight: 1, labels: {}, url: `http://127.0.0.1:${server.address.port}` };
let client: PeerClient | undefined;
const asking = await BlockCache.open({
  memoryBytes: 0,
  disk: [],
  blockSize: MIB,
  sources: (slab) => {
    client = new PeerClient({ self: self("me"), owners: { ranked: () => [owner] }, slab, originCostMs: () => 100, auth });
    return [client];
  },
});

/** Reads `count` stretches of `length` bytes; the best of five rounds. */
async function measure(
  length: number,
  count: number,
): Promise<{ GBps: number; cpuSecondsPerGB: number; cpuMicrosecondsPerRequest: number }> {
  let best = { GBps: 0, cpuSecondsPerGB: 0, cpuMicrosecondsPerRequest: 0 };
  for (let round = 0; round < 5; round++) {
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) {
        const begin = (next++ * Math.max(length, MIB)) % object.size;
        (await asking.acquire(object, begin, begin + length, { priority: 1 })).release();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const gb = (length * count) / 1e9;
    if (gb / seconds > best.GBps)
      best = { GBps: gb / seconds, cpuSecondsPerGB: (user + system) / 1e6 / gb, cpuMicrosecondsPerRequest: (user + system) / count };
  }
  return best;
}

console.table({
  "8 MiB": await measure(8 * MIB, 128),
  "1 MiB": await measure(MIB, 512),
  "110 KB": await measure(110_000, 2000),
});
const { counters } = client!.stats();
if (counters.answered !== counters.requests) throw new Error("the origin was asked");
await asking.close();
await client!.close();
await held.close();
await server.close();
