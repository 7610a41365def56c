/** A process of its own that reads objects through a cache: `node --import tsx cache-process.ts <directory> <capacity> <names> <hold | leave>`. */
import { BlockCache } from "../../../src/cache/tier-chain.js";
import { FakeStore } from "../../unit/cache/fake-store.js";

const [path, capacity, names, ending] = process.argv.slice(2) as [string, string, string, string];
const blockSize = 64 * 1024;
const disk = [{ path, capacity: Number(capacity), highWatermark: 0.95, lowWatermark: 0.85 }];
const cache = await BlockCache.open({ memoryBytes: 0, disk, blockSize });
const store = new FakeStore();
for (const name of names.split(",")) {
  const object = store.object(name, 8 * blockSize);
  cache.refer(object);
  (await cache.acquire(object, 0, object.size, { priority: 0 })).release();
}
while (ending !== "killed" && cache.stats().disk.queuedBytes > 0) await new Promise((resolve) => setTimeout(resolve, 2));
const { disk: stats, admittedBytes } = cache.stats();
console.log(JSON.stringify({ requests: store.requests, bytes: store.bytes, admittedBytes, failedWrites: stats.failedWrites }));
if (ending === "leave") await cache.close();
else setInterval(() => {}, 1_000);
