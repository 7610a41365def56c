/** How evenly groups fall on nodes. */
import { GROUP_BYTES } from "../../src/peers/group.js";
import { Owners } from "../../src/peers/rendezvous.js";
import {
  countsOf,
  type Data,
  equalCluster,
  largestOf,
  meanOf,
  members,
  ownersOf,
  quantile,
  round,
  type Scale,
  type Section,
  SHARDS,
  SMALL_OBJECTS,
} from "./cluster.js";

const BAR = 1.1;
/** Groups, in all trials of a row of a large cluster, that take some seconds to count. */
const COUNTED = 5_000_000;

interface Spread {
  /** Largest ÷ mean of each trial. */
  readonly ratios: readonly number[];
  /** Variance ÷ mean: 1 for thrown dice. */
  readonly dispersion: number;
}

function spreadOf(nodes: number, data: Data, groups: number, trials: number): Spread {
  const ratios: number[] = [];
  const dispersions: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    const counts = countsOf(ownersOf(equalCluster(nodes, trial), data, groups, trial), nodes);
    const mean = meanOf(counts);
    ratios.push(largestOf(counts) / mean);
    dispersions.push(meanOf(counts.map((count) => (count - mean) ** 2)) / mean / (1 - 1 / nodes));
  }
  return { ratios, dispersion: meanOf(dispersions) };
}

function row(nodes: number, data: Data, groups: number, trials: number) {
  const { ratios, dispersion } = spreadOf(nodes, data, groups, trials);
  return {
    nodes,
    objects: data.name,
    groups,
    trials,
    "variance ÷ mean": round(dispersion),
    "max ÷ mean, median": round(quantile(ratios, 0.5)),
    "95 of 100 below": round(quantile(ratios, 0.95)),
    [`≤ ${BAR} in`]: round(ratios.filter((ratio) => ratio <= BAR).length / trials),
  };
}

/** What a cluster of 64 meets at 40,000 groups and more, over kinds of data; then the same for other clusters. */
export function balance({ nodes, groupsPerNode, trials }: Scale): Section {
  const groups = 64 * groupsPerNode;
  const oneObject: Data = { name: "one object", objectBytes: groups * GROUP_BYTES };
  const few = Math.max(2, Math.round(trials / 5)); // objects of one group take ten times as long
  const rows = [row(64, SHARDS, groups, trials), row(64, oneObject, groups, trials), row(64, SMALL_OBJECTS, groups, few)];
  rows.push(row(64, SHARDS, 2 * groups, Math.ceil(trials / 2)), row(64, SHARDS, 4 * groups, Math.ceil(trials / 4)));
  for (const count of nodes.filter((count) => count !== 64)) {
    const all = count * groupsPerNode;
    rows.push(row(count, SHARDS, all, Math.max(2, Math.min(trials, Math.floor(COUNTED / all)))));
  }
  return {
    title: "Balance: groups of a node",
    note: "Variance ÷ mean is 1 where every group is thrown for itself, as plain rendezvous hashing does.",
    rows,
  };
}

const BILLION_BLOCKS = 1e9;
const BLOCK_BYTES = 2 ** 20;
/** The counts of so many nodes, of one cluster or of several, tell the variance to 1 in 16. */
const DISPERSION_NODES = 512;

/** 10^9 blocks are 125 million groups: the most loaded node follows from the variance, which is counted on fewer. */
export function billion({ nodes, groupsPerNode }: Scale): Section {
  const groups = (BILLION_BLOCKS * BLOCK_BYTES) / GROUP_BYTES;
  const rows = nodes.map((count) => {
    const counted = Math.min(count, DISPERSION_NODES) * groupsPerNode;
    const { dispersion } = spreadOf(count, SHARDS, counted, Math.ceil(DISPERSION_NODES / count));
    // P(any of n is above z) ≤ n · exp(−z² ÷ 2) is 0.05 here (Chernoff's bound).
    const deviations = Math.sqrt(2 * Math.log(count / 0.05));
    const largest = 1 + deviations * Math.sqrt((dispersion * count) / groups);
    return {
      nodes: count,
      "groups a node": Math.round(groups / count),
      "variance ÷ mean": round(dispersion),
      "max ÷ mean at most": round(largest),
    };
  });
  return { title: "Balance at 10^9 blocks of 1 MiB", note: "Computed from the variance, not counted; holds with 95 of 100.", rows };
}

const WEIGHTS = [1, 2, 4];

/** What nodes of each weight own, beside what their weight says. */
export function weights({ groupsPerNode, trials }: Scale): Section {
  const nodes = 63;
  const weight = (i: number) => WEIGHTS[i % WEIGHTS.length]!;
  const all = members(nodes, 0, weight).reduce((sum, member) => sum + member.weight, 0);
  const shares = WEIGHTS.map((): number[] => []);
  for (let trial = 0; trial < Math.ceil(trials / 4); trial++) {
    const owners = new Owners(members(nodes, trial, weight));
    const owned = ownersOf(owners, SHARDS, nodes * groupsPerNode, trial);
    const counts = countsOf(owned, nodes);
    for (const [i, member] of owners.members.entries())
      shares[WEIGHTS.indexOf(member.weight)]!.push(counts[i]! / owned.length / (member.weight / all));
  }
  const rows = WEIGHTS.map((value, i) => ({
    weight: value,
    "share ÷ its due, mean": round(meanOf(shares[i]!), 4),
    "1 of 100 below": round(quantile(shares[i]!, 0.01)),
    "99 of 100 below": round(quantile(shares[i]!, 0.99)),
  }));
  return { title: `Weights: ${nodes} nodes of weight 1, 2 and 4`, note: "256 MB shards.", rows };
}
