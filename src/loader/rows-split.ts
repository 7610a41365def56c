import { MillraceError } from "../errors.js";
import { PURPOSE, permutation } from "../order/prp.js";

const ROUNDING = 1e-9; // shares such as 0.7 + 0.2 + 0.1 miss 1 by less

/** The names and shares of a split. Shares are positive and sum to 1, or to less: the rest is then in no part. Throws MILLRACE_CONFIG. */
export function splitWeights(parts: Readonly<Record<string, number>>): {
  readonly names: readonly string[];
  readonly weights: readonly number[];
} {
  const names = Object.keys(parts);
  const weights = Object.values(parts);
  if (names.length === 0) throw new MillraceError("MILLRACE_CONFIG", "split: name at least one part, such as { train: 0.9, val: 0.1 }");
  for (const [i, weight] of weights.entries())
    if (!(weight > 0 && weight <= 1))
      throw new MillraceError("MILLRACE_CONFIG", `split.${names[i]}: expected a share above 0 and up to 1, got ${weight}`);
  const sum = weights.reduce((a, b) => a + b);
  if (sum > 1 + ROUNDING) throw new MillraceError("MILLRACE_CONFIG", `split: the shares sum to ${Number(sum.toFixed(9))}, more than 1`);
  return { names, weights };
}

/** The share that no part asks for. */
function restOf(weights: readonly number[]): number {
  const rest = 1 - weights.reduce((a, b) => a + b);
  return rest > ROUNDING ? rest : 0;
}

/** Whole numbers in proportion to the weights, by largest remainder: they sum to `total` less what the weights leave. */
export function apportion(total: number, weights: readonly number[]): number[] {
  const shares = [...weights, restOf(weights)].map((weight) => weight * total);
  const sizes = shares.map(Math.floor);
  const byRemainder = shares.map((_, i) => i).filter((i) => shares[i]! > 0);
  byRemainder.sort((a, b) => shares[b]! - sizes[b]! - (shares[a]! - sizes[a]!) || a - b);
  let left = total - sizes.reduce((a, b) => a + b);
  for (const i of byRemainder) if (left-- > 0) sizes[i]!++;
  return sizes.slice(0, weights.length);
}

/**
 * The part of each shard, or −1 for none: shards are dealt in keyed random order, each to the part that lacks most samples, and every
 * part gets one at least. Throws MILLRACE_CONFIG where there are fewer shards than parts.
 */
export function dealShards(shardSizes: readonly number[], weights: readonly number[], seed: number): Int32Array {
  const filled = shardSizes.filter((size) => size > 0).length;
  if (filled < weights.length)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `split.by: ${weights.length} parts of whole shards need as many shards, there are ${filled}; use by: "sample"`,
    );
  const total = shardSizes.reduce((a, b) => a + b, 0);
  const lacks = [...weights, restOf(weights)].map((weight) => weight * total);
  const empty = new Set(weights.keys());
  const parts = new Int32Array(shardSizes.length).fill(-1);
  const order = permutation(shardSizes.length, [seed, PURPOSE.split]);
  let left = filled;
  for (let i = 0; i < shardSizes.length; i++) {
    const shard = order.at(i);
    if (shardSizes[shard] === 0) continue;
    const open = left-- > empty.size ? lacks.keys() : empty.values();
    let best = -1;
    for (const part of open) if (best < 0 || lacks[part]! > lacks[best]!) best = part;
    lacks[best]! -= shardSizes[shard]!;
    empty.delete(best);
    parts[shard] = best < weights.length ? best : -1;
  }
  return parts;
}
