/** A node as the others know it. Who owns what follows from id and weight alone: a node that comes back elsewhere owns what it owned. */
export interface Member {
  /** Stable and unique among the members. */
  readonly id: string;
  /** Its share of the groups is its weight ÷ the sum of all weights. 0: it owns nothing, and still asks the others. */
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it answers now: `http://host:port` or `https://host:port`. */
  readonly url: string;
}

/** Outside it a share is smaller than what tickets of 32 bits can tell apart. */
export const WEIGHTS = { min: 1e-6, max: 1e9 } as const;

/** 0, or within `WEIGHTS`. */
export function isWeight(weight: number): boolean {
  return weight === 0 || (weight >= WEIGHTS.min && weight <= WEIGHTS.max);
}

/** That two nodes have one id, and what to do. */
export function twoNodes(id: string, one: string, other: string): string {
  const remedy = "delete the file node-id in the cache directory of one of them, perhaps a copy of the other's, and restart it";
  return `two nodes have the id ${id}, ${one} and ${other}: ${remedy}`;
}
