/**
 * What a ranged GET costs this process, by the range client and by undici: CPU s/GB and GB/s, or µs a request. The origin runs in a
 * process of its own; the targets lie in shared memory, 1 MiB each. Run: `npx tsx bench/micro/range-get.ts [--tls]` (with TLS and without
 * trust in the origin's certificate: NODE_TLS_REJECT_UNAUTHORIZED=0).
 */
import { dispatchGet, HttpTransports, rangeGet } from "../../src/storage/http-get.js";
import { rangeHeader } from "../../src/storage/http-range.js";
import { RangeAnswer, type RangeRequest } from "../../src/storage/range-answer.js";
import { startOrigin } from "../../test/support/origin/index.js";

const MIB = 2 ** 20;
const OBJECT_BYTES = 64 * MIB;
const IN_FLIGHT = 8;
const SECONDS = 3;
const ROUNDS = 3;

await using origin = await startOrigin({ buckets: ["b"], anonymousRead: true, tls: process.argv.includes("--tls") });
await origin.put("b", "o", new Uint8Array(OBJECT_BYTES).fill(7));
const object = { path: "b/o", size: OBJECT_BYTES, etag: "", lastModified: undefined };
const transports = new HttpTransports();
const slab = new Uint8Array(new SharedArrayBuffer(IN_FLIGHT * 8 * MIB)).fill(1);

function requestOf(begin: number, end: number): RangeRequest {
  const uri = `${origin.endpoint}/b/o`;
  const headers = { range: rangeHeader(begin, end), "accept-encoding": "identity" };
  return { uri, origin: origin.endpoint, path: "/b/o", headers, range: { begin, end }, object, versionOf: () => undefined };
}

function targetsOf(lane: number, bytes: number): Uint8Array[] {
  const targets: Uint8Array[] = [];
  for (let at = 0; at < bytes; at += MIB) targets.push(slab.subarray(lane * 8 * MIB + at, lane * 8 * MIB + Math.min(bytes, at + MIB)));
  return targets;
}

const ways = {
  "range client": (request: RangeRequest, targets: Uint8Array[]) => rangeGet(transports, request, targets),
  undici: (request: RangeRequest, targets: Uint8Array[]) => dispatchGet(transports.agent, new RangeAnswer(request, targets, {}), undefined),
};

async function measure(way: keyof typeof ways, bytes: number, seconds: number): Promise<{ gets: number; cpu: number; wall: number }> {
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  let gets = 0;
  const lane = async (index: number): Promise<void> => {
    const targets = targetsOf(index, bytes);
    while (performance.now() - start < seconds * 1000) {
      const begin = (gets++ * bytes) % (OBJECT_BYTES - bytes + 1);
      const refusal = await ways[way](requestOf(begin, begin + bytes), targets);
      if (refusal !== undefined) throw new Error(`HTTP ${refusal.status}`);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, index) => lane(index)));
  const { user, system } = process.cpuUsage(cpuBefore);
  return { gets, cpu: (user + system) / 1e6, wall: (performance.now() - start) / 1000 };
}

for (const [name, bytes] of [
  ["8 MiB", 8 * MIB],
  ["1 MiB", MIB],
  ["110 KB", 110_000],
] as const) {
  for (const way of Object.keys(ways) as (keyof typeof ways)[]) await measure(way, bytes, 0.5);
  for (let round = 0; round < ROUNDS; round++)
    for (const way of Object.keys(ways) as (keyof typeof ways)[]) {
      const { gets, cpu, wall } = await measure(way, bytes, SECONDS / ROUNDS);
      const gigabytes = (gets * bytes) / 1e9;
      const figures = [`${(cpu / gigabytes).toFixed(2)} CPU s/GB`, `${(gigabytes / wall).toFixed(2)} GB/s`];
      console.log(`${name.padEnd(8)} ${way.padEnd(14)} ${figures.join("   ")}   ${Math.round((cpu / gets) * 1e6)} CPU µs a request`);
    }
}
await transports.close();
