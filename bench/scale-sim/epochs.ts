/** Reads from the origin, and between nodes, in an epoch. */

import { EpochOrder } from "../../src/order/epoch-order.js";
import type { Piece } from "../../src/order/order-window.js";
import { chooseOrder } from "../../src/order/spec.js";
import { GROUP_BYTES } from "../../src/peers/group.js";
import type { Owners } from "../../src/peers/rendezvous.js";
import { countsOf, equalCluster, largestOf, meanOf, objectName, ownersOf, round, type Scale, type Section, SHARDS } from "./cluster.js";

/** k·f: what all nodes' caches hold together, in datasets. */
const HELD = [0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5];

/**
 * Under `pin` a cache keeps what came first and streams the rest, so that from the second epoch on exactly what the owners have no room
 * for is read from the origin, each byte once. The first epoch reads everything once.
 */
export function originReads({ nodes, groupsPerNode }: Scale): Section {
  const rows = nodes.map((count) => {
    const counts = countsOf(ownersOf(equalCluster(count, 0), SHARDS, count * groupsPerNode, 0), count);
    const mean = meanOf(counts);
    const cells = HELD.map((held) => {
      const room = held * mean;
      const read = counts.reduce((sum, owned) => sum + Math.max(0, owned - room), 0) / (mean * count);
      return [`k·f = ${held}`, round(read, 4)] as const;
    });
    return { nodes: count, ...Object.fromEntries(cells) };
  });
  return {
    title: "Origin reads of a later epoch, in datasets",
    note: "The bar is (1 − k·f) + 0.04 below 1, and 0 from 1.5. Without peers it is 1 − f.",
    rows,
  };
}

const SAMPLE_BYTES = 110_000;
const SHARD_SAMPLES = Math.floor(SHARDS.objectBytes / SAMPLE_BYTES);
/** What a node has fetched ahead, together with the others, when loads are compared. */
const AHEAD = [1, 8, 64].map((groups) => groups * GROUP_BYTES);
const LANES = 24;
/** Of the windows of all nodes, for each; below 24 nodes the default of 512 MiB is more. */
const WINDOW_BYTES = 24 * 2 ** 20;
const DEFAULT_WINDOW_BYTES = 512 * 2 ** 20;
const ROUNDS = 8;
/** Groups in a look-ahead of all nodes that are counted in some seconds: each lies in another shard, and is ranked with all of it. */
const COUNTED_AHEAD = 50_000;

interface Load {
  readonly owner: string;
  readonly bytes: number;
}

/** Whom a node asks for the samples of a piece. */
function* loadsOf({ first, count }: Piece, owners: Owners): Generator<Load, void, undefined> {
  for (let begin = first; begin < first + count; ) {
    const shard = Math.floor(begin / SHARD_SAMPLES);
    const end = Math.min(first + count, (shard + 1) * SHARD_SAMPLES);
    const endByte = (end - shard * SHARD_SAMPLES) * SAMPLE_BYTES;
    for (let byte = (begin - shard * SHARD_SAMPLES) * SAMPLE_BYTES; byte < endByte; ) {
      const group = Math.floor(byte / GROUP_BYTES);
      const next = Math.min(endByte, (group + 1) * GROUP_BYTES);
      yield { owner: owners.owner(objectName(0, shard), group, SHARDS.objectBytes)!.id, bytes: next - byte };
      byte = next;
    }
    begin = end;
  }
}

/** What the nodes ask each other for from the middle of an epoch on, in the order they need it. */
function* middleOf(nodes: number, shards: number, owners: Owners): Generator<Load, void, undefined> {
  const samples = shards * SHARD_SAMPLES;
  const facts = { sampleCount: samples, byteLength: samples * SAMPLE_BYTES, maxSampleBytes: SAMPLE_BYTES };
  const shuffle = { seed: 17, mode: "window" as const, windowBytes: Math.max(DEFAULT_WINDOW_BYTES, nodes * WINDOW_BYTES) };
  const lanes = nodes * Math.ceil(LANES / nodes);
  const order = new EpochOrder(chooseOrder(facts, { shuffle, lanes }), 0);
  let opened = 0;
  for (const window of order.windows(Math.floor(samples / 2))) {
    if (opened++ < lanes) continue; // at the place it begins from, every lane opens one at once
    for (const piece of window.pieces) yield* loadsOf(piece, owners);
  }
}

/** Largest ÷ mean of what the nodes give out while each fetches `ahead` bytes, averaged over rounds that follow each other. */
function burst(nodes: number, loads: Iterable<Load>, ahead: number): number | string {
  const groups = (nodes * ahead) / GROUP_BYTES;
  if (groups > COUNTED_AHEAD) return "not counted";
  const rounds = Math.max(1, Math.min(ROUNDS, Math.floor(COUNTED_AHEAD / groups)));
  const ratios: number[] = [];
  let given = new Map<string, number>();
  let bytes = 0;
  for (const load of loads) {
    given.set(load.owner, (given.get(load.owner) ?? 0) + load.bytes);
    bytes += load.bytes;
    if (bytes < nodes * ahead) continue;
    ratios.push((largestOf([...given.values()]) * nodes) / bytes);
    [given, bytes] = [new Map(), 0];
    if (ratios.length === rounds) break;
  }
  return round(meanOf(ratios), 2);
}

export function traffic({ nodes }: Scale): Section {
  const rows = nodes.map((count) => {
    const owners = equalCluster(count, 0);
    // Long enough for the rounds of the longest look-ahead, whatever is counted elsewhere.
    const shards = Math.ceil((2 * (ROUNDS + 4) * count * AHEAD.at(-1)!) / SHARDS.objectBytes);
    const bursts = AHEAD.map((ahead) => [`burst at ${ahead / 2 ** 20} MiB`, burst(count, middleOf(count, shards, owners), ahead)]);
    return {
      nodes: count,
      "from other nodes": round(1 - 1 / count, 4),
      ...Object.fromEntries(bursts),
    };
  });
  return {
    title: "Traffic of a node, in parts of what one node reads in an epoch",
    note: "What a node gives out is its part of the groups × the same. Burst: the most that one gives out ÷ the mean while each fetches so much at once.",
    rows,
  };
}

/** Samples' order at the default window budget and at one that grows with the nodes. */
export function orders({ nodes }: Scale): Section {
  const rows = nodes.map((count) => {
    const samples = 20 * count * SHARD_SAMPLES;
    const facts = { sampleCount: samples, byteLength: samples * SAMPLE_BYTES, maxSampleBytes: SAMPLE_BYTES };
    const chunkMib = (windowBytes: number) => {
      const spec = chooseOrder(facts, { shuffle: { seed: 17, mode: "window", windowBytes }, lanes: count * Math.ceil(LANES / count) });
      return round((spec.chunks.uniformSize! * SAMPLE_BYTES) / 2 ** 20, 2);
    };
    return {
      nodes: count,
      "chunk, MiB, of 512 MiB": chunkMib(DEFAULT_WINDOW_BYTES),
      "chunk, MiB, of 24 MiB a node, if more": chunkMib(Math.max(DEFAULT_WINDOW_BYTES, count * WINDOW_BYTES)),
    };
  });
  return {
    title: "Chunks, by the budget of all windows",
    note: "Lanes are a multiple of the nodes, so that no two nodes read one chunk. A chunk is what one request asks for.",
    rows,
  };
}
