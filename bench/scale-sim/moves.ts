/** What changes hands when a node leaves or joins. */
import { Owners } from "../../src/peers/rendezvous.js";
import { largestOf, meanOf, members, ownersOf, round, type Scale, type Section, SHARDS } from "./cluster.js";

/** Nodes that leave or join in turn. */
const CHANGES = 5;

interface Move {
  /** Part of all groups that has another owner afterwards, × nodes. */
  readonly share: number;
  /** Groups that changed hands without need. */
  readonly needless: number;
  /** What the heir of most took over ÷ what a node owns. */
  readonly heir: number;
}

/** The same change seen from both ends: from `large` to the cluster without `id`, or the other way. */
function moveOf(large: Owners, small: Owners, id: string, groups: number, trial: number): Move {
  const before = ownersOf(large, SHARDS, groups, trial);
  const after = ownersOf(small, SHARDS, groups, trial);
  const heirs = new Map<string, number>();
  let needless = 0;
  let moved = 0;
  for (let i = 0; i < before.length; i++) {
    const [from, to] = [large.members[before[i]!]!.id, small.members[after[i]!]!.id];
    if (from === to) continue;
    moved++;
    if (from === id) heirs.set(to, (heirs.get(to) ?? 0) + 1);
    else needless++;
  }
  const { length: nodes } = large.members;
  return { share: (moved / before.length) * nodes, needless, heir: (largestOf([...heirs.values()]) * nodes) / before.length };
}

export function moves({ nodes, groupsPerNode }: Scale): Section {
  const rows = nodes.map((count) => {
    const list = members(count, 0);
    const large = new Owners(list);
    const made = Array.from({ length: CHANGES }, (_, change) => {
      const leaver = list[Math.floor((change * count) / CHANGES)]!;
      return moveOf(large, new Owners(list.filter((member) => member !== leaver)), leaver.id, Math.min(64, count) * groupsPerNode, 0);
    });
    const shares = made.map(({ share }) => share);
    return {
      nodes: count,
      "share moved × nodes, mean": round(meanOf(shares)),
      largest: round(largestOf(shares)),
      "needless moves": largestOf(made.map(({ needless }) => needless)),
      "heir of most ÷ a node's": round(largestOf(made.map(({ heir }) => heir))),
    };
  });
  return {
    title: "Groups that change hands when one node leaves, or joins",
    note: `256 MB shards, ${CHANGES} nodes in turn; a node that joins takes what it would leave. Clusters above 64 on the groups of 64.`,
    rows,
  };
}
