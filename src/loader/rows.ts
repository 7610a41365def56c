import { MillraceError } from "../errors.js";
import { lastAtOrBelow } from "../order/chunks.js";
import { PURPOSE, permutation } from "../order/prp.js";
import { RowBitmap } from "./rows-bitmap.js";
import { apportion, dealShards } from "./rows-split.js";

/** One narrowing of a dataset, as `take`, `select` and `split` make it. Structured-cloneable: a view is its list of steps. */
export type RowsStep =
  | { readonly take: number }
  | { readonly range: { readonly from: number; readonly to: number } }
  | { readonly list: Float64Array }
  | {
      readonly part: { readonly seed: number; readonly by: "sample" | "shard"; readonly weights: readonly number[]; readonly part: number };
    };

/** What the rows need to know of the manifest. */
export interface RowsManifest {
  readonly sampleCount: number;
  readonly shardCount: number;
  /** First sample of a shard; of `shardCount`: the sample count. */
  shardFirst(shard: number): number;
}

/** The samples that a dataset view holds: row i is the manifest's sample `base(i)`. */
export interface Rows {
  readonly count: number;
  base(i: number): number;
  /** How many rows have a sample < x. Only where rows rise, which all but lists out of order do. */
  readonly rank?: ((x: number) => number) | undefined;
  readonly memoryBytes: number;
}

/** The rows left by the steps, applied one after the other. Throws MILLRACE_CONFIG, naming the option and the count. */
export function buildRows(manifest: RowsManifest, steps: readonly RowsStep[]): Rows {
  const count = manifest.sampleCount;
  let rows: Rows = { count, base: (i) => i, rank: (x) => Math.min(count, Math.max(0, x)), memoryBytes: 0 };
  for (const step of steps) rows = applyStep(manifest, rows, step);
  return rows;
}

function applyStep(manifest: RowsManifest, rows: Rows, step: RowsStep): Rows {
  if ("take" in step) {
    checkBound("take", step.take, 0, rows.count);
    return rangeOf(rows, 0, step.take);
  }
  if ("range" in step) {
    const { from, to } = step.range;
    checkBound("select.from", from, 0, rows.count);
    checkBound("select.to", to, from, rows.count);
    return rangeOf(rows, from, to);
  }
  if ("list" in step) {
    for (const row of step.list) checkBound("select", row, 0, rows.count - 1);
    return listOf(rows, step.list);
  }
  const { by, part, weights, seed } = step.part;
  checkBound("split.part", part, 0, weights.length - 1);
  if (!Number.isSafeInteger(seed)) throw new MillraceError("MILLRACE_CONFIG", `split.seed: expected a whole number, got ${seed}`);
  return by === "sample" ? samplePart(rows, weights, part, seed) : shardPart(manifest, rows, weights, part, seed);
}

function checkBound(option: string, value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most)
    throw new MillraceError("MILLRACE_CONFIG", `${option}: expected a whole number from ${least} to ${most}, got ${value}`);
}

function rangeOf(rows: Rows, from: number, to: number): Rows {
  const { rank } = rows;
  return {
    count: to - from,
    base: (i) => rows.base(from + i),
    rank: rank && ((x) => Math.min(to, Math.max(from, rank(x))) - from),
    memoryBytes: rows.memoryBytes,
  };
}

function listOf(rows: Rows, list: Float64Array): Rows {
  const { rank } = rows;
  const rising = list.every((row, i) => i === 0 || row >= list[i - 1]!);
  return {
    count: list.length,
    base: (i) => rows.base(list[i]!),
    rank: rank && rising ? (x) => countBelow(list, rank(x)) : undefined,
    memoryBytes: rows.memoryBytes + list.byteLength,
  };
}

/** Elements < `value` of a rising list. */
function countBelow(rising: Float64Array, value: number): number {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (rising[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A keyed permutation of the rows, cut into the parts: each part is those rows in their own order, so that neighbours stay together. */
function samplePart(rows: Rows, weights: readonly number[], part: number, seed: number): Rows {
  const sizes = apportion(rows.count, weights);
  const from = sizes.slice(0, part).reduce((a, b) => a + b, 0);
  const to = from + sizes[part]!;
  const shuffle = permutation(rows.count, [seed, PURPOSE.split]);
  // A large part is quicker made by taking out the others.
  const large = to - from > rows.count / 2;
  const members = new RowBitmap(rows.count, large);
  const [begin, end] = large ? [to, rows.count + from] : [from, to];
  for (let i = begin; i < end; i++) members.toggle(shuffle.at(i % rows.count));
  members.seal();
  const { rank } = rows;
  return {
    count: to - from,
    base: (i) => rows.base(members.select(i)),
    rank: rank && ((x) => members.rank(rank(x))),
    memoryBytes: rows.memoryBytes + members.memoryBytes,
  };
}

function shardPart(manifest: RowsManifest, rows: Rows, weights: readonly number[], part: number, seed: number): Rows {
  return rows.rank === undefined
    ? shardPartOfList(manifest, rows, weights, part, seed)
    : shardPartOfRising(manifest, rows, rows.rank, weights, part, seed);
}

/** Where rows rise, those of a shard are neighbours: a part is a list of ranges of rows. */
function shardPartOfRising(
  manifest: RowsManifest,
  rows: Rows,
  rank: (x: number) => number,
  weights: readonly number[],
  part: number,
  seed: number,
): Rows {
  const bounds = Array.from({ length: manifest.shardCount + 1 }, (_, shard) => rank(manifest.shardFirst(shard)));
  const parts = dealShards(
    bounds.slice(1).map((end, shard) => end - bounds[shard]!),
    weights,
    seed,
  );
  const mine = [...parts.keys()].filter((shard) => parts[shard] === part);
  const from = Float64Array.from(mine, (shard) => bounds[shard]!);
  /** Rows of the part before each of its shards, and all of them at the end. */
  const before = new Float64Array(mine.length + 1);
  for (const [k, shard] of mine.entries()) before[k + 1] = before[k]! + bounds[shard + 1]! - bounds[shard]!;
  const rowOf = (i: number) => {
    const k = lastAtOrBelow(before, i);
    return from[k]! + i - before[k]!;
  };
  return {
    count: before[mine.length]!,
    base: (i) => rows.base(rowOf(i)),
    rank: (x) => {
      const row = rank(x);
      const k = countBelow(from, row) - 1; // the last of the part's shards that begins before the row
      return k < 0 ? 0 : Math.min(before[k + 1]!, before[k]! + row - from[k]!);
    },
    memoryBytes: rows.memoryBytes + from.byteLength + before.byteLength,
  };
}

/** Where rows are in no order, each one is looked up. */
function shardPartOfList(manifest: RowsManifest, rows: Rows, weights: readonly number[], part: number, seed: number): Rows {
  const firsts = Float64Array.from({ length: manifest.shardCount }, (_, shard) => manifest.shardFirst(shard));
  const shardOf = Float64Array.from({ length: rows.count }, (_, i) => lastAtOrBelow(firsts, rows.base(i)));
  const sizes = new Array<number>(manifest.shardCount).fill(0);
  for (const shard of shardOf) sizes[shard]!++;
  const parts = dealShards(sizes, weights, seed);
  return listOf(
    rows,
    Float64Array.from(shardOf.keys()).filter((i) => parts[shardOf[i]!] === part),
  );
}
