/**
 * What hedging adds to a read that is not hedged: CPU µs, beside a read of the bare store that asks the claim and writes nothing, with and
 * without a signal of the caller's. Run: `npx tsx bench/micro/hedge.ts`.
 */
import { newCounters } from "../../src/storage/count.js";
import { Hedger, withHedge } from "../../src/storage/hedge.js";
import type { Store } from "../../src/storage/store.js";

const READS = 200_000;
const ROUNDS = 5;

const object = { path: "o", size: 1, etag: '"v"', lastModified: undefined };
const bare: Store = {
  uri: "s3://b",
  list: () => {
    throw new Error("not listed");
  },
  stat: async () => object,
  readInto: async (_object, _begin, _targets, options) => {
    await undefined;
    options?.claim?.();
  },
};
const hedged = withHedge(bare, new Hedger(newCounters(), 0.05));
const targets = [new Uint8Array(1)];

async function measure(store: Store, signal: AbortSignal | undefined): Promise<number> {
  const before = process.cpuUsage();
  for (let i = 0; i < READS; i++) await store.readInto(object, 0, targets, { signal, claim: () => true });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / READS;
}

for (const [name, signal] of [
  ["no signal", undefined],
  ["a signal", new AbortController().signal],
] as const) {
  for (const store of [bare, hedged]) await measure(store, signal);
  const added: number[] = [];
  for (let round = 0; round < ROUNDS; round++) added.push(-(await measure(bare, signal)) + (await measure(hedged, signal)));
  console.log(`${name.padEnd(10)} ${added.map((us) => us.toFixed(2)).join("  ")}   CPU µs a read more, by round`);
}
