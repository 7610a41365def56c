/**
 * Ranged GETs by the thread that asks, and by I/O threads: CPU s/GB of the process, s/GB for which the asking thread is busy, GB/s, and CPU µs a
 * request. nginx in processes of its own; a claim with each read, as the engine asks; targets in shared memory, 1 MiB each. On 2 CPUs nginx
 * and the threads share them, so GB/s says little there: the busy time says how much more one engine could carry.
 * Run: `npx tsx bench/micro/io-threads.ts [--tls]` (TLS: with NODE_TLS_REJECT_UNAUTHORIZED=0, the certificate being nobody's).
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { IoPool } from "../../src/engine/io-pool.js";
import { HttpStore } from "../../src/storage/http-store.js";
import { startNginx } from "../lib/nginx.js";

const MIB = 2 ** 20;
const OBJECT_BYTES = 256 * MIB;
const IN_FLIGHT = 8;
const SECONDS = 2;
const ROUNDS = 3;

const root = await mkdtemp(join(tmpdir(), "millrace-bench-"));
await writeFile(join(root, "o"), Buffer.alloc(OBJECT_BYTES, 7));
const nginx = await startNginx(root, { tls: process.argv.includes("--tls") });
const pools = [1, 2, 4].map((threads) => ({ name: `${threads} I/O threads`, pool: new IoPool(threads, () => undefined) }));
const ways = [
  { name: "this thread", store: new HttpStore(nginx.endpoint) },
  ...pools.map(({ name, pool }) => ({ name, store: new HttpStore(nginx.endpoint, {}, pool) })),
];
const object = await ways[0]!.store.stat("o");
const slab = new Uint8Array(new SharedArrayBuffer(IN_FLIGHT * 8 * MIB)).fill(1);

function targetsOf(lane: number, bytes: number): Uint8Array[] {
  const targets: Uint8Array[] = [];
  for (let at = 0; at < bytes; at += MIB) targets.push(slab.subarray(lane * 8 * MIB + at, lane * 8 * MIB + Math.min(bytes, at + MIB)));
  return targets;
}

async function measure(store: HttpStore, bytes: number, seconds: number) {
  const cpuBefore = process.cpuUsage();
  const busyBefore = performance.eventLoopUtilization();
  const start = performance.now();
  let gets = 0;
  const lane = async (index: number): Promise<void> => {
    const targets = targetsOf(index, bytes);
    while (performance.now() - start < seconds * 1000)
      await store.readInto(object, (gets++ * bytes) % (OBJECT_BYTES - bytes + 1), targets, { claim: () => true });
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, index) => lane(index)));
  const { user, system } = process.cpuUsage(cpuBefore);
  const busy = performance.eventLoopUtilization(busyBefore).active / 1000;
  return { gets, cpu: (user + system) / 1e6, busy, wall: (performance.now() - start) / 1000 };
}

for (const [size, bytes] of [
  ["8 MiB", 8 * MIB],
  ["1 MiB", MIB],
  ["256 KiB", 256 * 1024],
  ["110 KB", 110_000],
  ["32 KB", 32_000],
] as const) {
  for (const { store } of ways) await measure(store, bytes, 0.3);
  for (let round = 0; round < ROUNDS; round++)
    for (const { name, store } of ways) {
      const { gets, cpu, busy, wall } = await measure(store, bytes, SECONDS / ROUNDS);
      const gigabytes = (gets * bytes) / 1e9;
      const perGigabyte = `${(cpu / gigabytes).toFixed(2)} CPU s/GB   ${(busy / gigabytes).toFixed(2)} busy s/GB   ${(gigabytes / wall).toFixed(2)} GB/s`;
      const perRequest = `${Math.round((cpu / gets) * 1e6)} CPU µs   ${Math.round((busy / gets) * 1e6)} busy µs a request`;
      console.log(`${size.padEnd(8)} ${name.padEnd(14)} ${perGigabyte}   ${perRequest}`);
    }
}
for (const { store } of ways) await store.close();
for (const { pool } of pools) await pool.close();
await nginx.close();
await rm(root, { recursive: true, force: true });
