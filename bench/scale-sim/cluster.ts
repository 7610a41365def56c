/** Clusters and datasets made up for the simulation; who owns what is the library's own code. */
import { GROUP_BYTES, groupCount } from "../../src/peers/group.js";
import type { Member } from "../../src/peers/member.js";
import { Owners } from "../../src/peers/rendezvous.js";

/** One table of results. */
export interface Section {
  readonly title: string;
  /** How to read it, and what in it was not counted. */
  readonly note: string;
  readonly rows: readonly Readonly<Record<string, number | string>>[];
}

/** How much is simulated: all of it, or little, for a test. */
export interface Scale {
  readonly nodes: readonly number[];
  /** Groups for each node: 625 are 40,000 on 64 nodes. */
  readonly groupsPerNode: number;
  /** Clusters and datasets, named anew each time. */
  readonly trials: number;
}

export const FULL: Scale = { nodes: [8, 64, 512, 4096], groupsPerNode: 625, trials: 200 };
export const SMALL: Scale = { nodes: [8, 64], groupsPerNode: 50, trials: 3 };

/** Objects of one size. */
export interface Data {
  readonly name: string;
  readonly objectBytes: number;
}

export const SHARDS: Data = { name: "256 MB shards", objectBytes: 256e6 };
export const SMALL_OBJECTS: Data = { name: "8 MiB objects", objectBytes: GROUP_BYTES };

/** Node `i` of cluster `trial` has the same name whatever the size of the cluster. */
export function members(count: number, trial: number, weight: (i: number) => number = () => 1): Member[] {
  return Array.from({ length: count }, (_, i) => ({ id: `node-${trial}-${i}`, weight: weight(i), labels: {}, url: "http://127.0.0.1:1" }));
}

export function objectName(trial: number, index: number): string {
  return `object-${trial}-${index}`;
}

/** The owner of each group of the data, cut off at about so many groups, as an index into `owners.members`. */
export function ownersOf(owners: Owners, data: Data, groups: number, trial: number): Uint16Array {
  const each = groupCount(data.objectBytes);
  const objects = Math.ceil(groups / each);
  const index = new Map(owners.members.map(({ id }, i) => [id, i]));
  const owned = new Uint16Array(objects * each);
  for (let i = 0; i < owned.length; i++)
    owned[i] = index.get(owners.owner(objectName(trial, Math.floor(i / each)), i % each, data.objectBytes)!.id)!;
  return owned;
}

/** Groups of each node. */
export function countsOf(owned: Uint16Array, nodes: number): Float64Array {
  const counts = new Float64Array(nodes);
  for (const node of owned) counts[node]!++;
  return counts;
}

export function equalCluster(nodes: number, trial: number): Owners {
  return new Owners(members(nodes, trial));
}

export function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

export function largestOf(values: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i]!);
  return largest;
}

/** The value that a part `p` of all are not above. */
export function quantile(values: readonly number[], p: number): number {
  const rising = values.toSorted((a, b) => a - b);
  return rising[Math.min(rising.length - 1, Math.max(0, Math.ceil(p * rising.length) - 1))]!;
}

export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}
