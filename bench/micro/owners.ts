/**
 * What it costs to know a group's owner: of groups asked for the first time, stretch after stretch, and of groups asked for again, by members.
 *
 *   npx tsx bench/micro/owners.ts
 */
import { GROUP_BYTES } from "../../src/peers/group.js";
import { Owners } from "../../src/peers/rendezvous.js";

/** 31 groups: a shard of 256 MB. */
const SHARD_GROUPS = 31;
const SHARDS = 2000;
const RUNS = 5;

function nanosecondsAGroup(look: (shard: string, group: number) => unknown, shards: number): number {
  const begin = process.cpuUsage();
  for (let shard = 0; shard < shards; shard++) for (let group = 0; group < SHARD_GROUPS; group++) look(`${shard}`.padStart(32, "0"), group);
  const { user, system } = process.cpuUsage(begin);
  return ((user + system) * 1000) / (shards * SHARD_GROUPS);
}

function figures(count: number) {
  const members = Array.from({ length: count }, (_, i) => ({ id: `node-${i}`, weight: 1, labels: {}, url: "http://127.0.0.1:1" }));
  const [cold, warm]: [number[], number[]] = [[], []];
  for (let run = 0; run < RUNS; run++) {
    const owners = new Owners(members);
    const size = SHARD_GROUPS * GROUP_BYTES;
    cold.push(nanosecondsAGroup((shard, group) => owners.ranked(shard, group, size), SHARDS));
    warm.push(nanosecondsAGroup((shard, group) => owners.ranked(shard, group, size), SHARDS));
  }
  return { members: count, "ns, first time": Math.min(...cold).toFixed(0), "ns, again": Math.min(...warm).toFixed(0) };
}

console.table([8, 64, 1024, 4096].map(figures));
