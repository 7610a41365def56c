/** What the owners of something go through that all nodes want at once. */
import { AskerLimits, SERVING_LIMITS } from "../../src/peers/asker-limits.js";
import { GROUP_BYTES, groupCount } from "../../src/peers/group.js";
import { RANKS } from "../../src/peers/rendezvous.js";
import { systemClock } from "../../src/util/clock.js";
import { equalCluster, objectName, round, type Scale, type Section } from "./cluster.js";

/** 10 Gbit/s. */
const LINK_BYTES_PER_SECOND = 1.25e9;
const OBJECT_BYTES = 2 ** 30;

/** All nodes ask for one range in the same instant, and nobody has finished yet: the owner, then who comes next, then the origin. */
function oneRange(nodes: number, bytes: number) {
  const owners = equalCluster(nodes, 0);
  const servers = new Map(owners.members.map(({ id }) => [id, new AskerLimits(SERVING_LIMITS, systemClock)]));
  const ranked = owners.ranked(objectName(0, 0), 0, OBJECT_BYTES);
  const served = ranked.map(() => 0);
  let origin = 1; // the owner's own
  for (const asker of owners.members) {
    if (asker === ranked[0]) continue;
    const rank = ranked.findIndex((member) => member === asker || servers.get(member.id)!.enter(asker.id, bytes) !== undefined);
    if (rank < 0 || ranked[rank] === asker) origin++;
    else {
      // Who comes next has not got it either.
      if (rank > 0 && served[rank] === 0) origin++;
      served[rank]!++;
    }
  }
  return {
    nodes,
    asked: `${bytes / 2 ** 20} MiB`,
    "by the owner": served[0]!,
    "by the next": served.slice(1, RANKS).reduce((sum, count) => sum + count, 0),
    "origin reads": origin,
  };
}

export function hotRange({ nodes }: Scale): Section {
  const rows = nodes.flatMap((count) => [oneRange(count, 2 ** 20), oneRange(count, GROUP_BYTES)]);
  return {
    title: "One hot range: requests, if all nodes ask in one instant",
    note: `A node has ${SERVING_LIMITS.bytes / 2 ** 20} MiB of answers under way at most, and then says that it is busy. The worst case: real askers come one after the other.`,
    rows,
  };
}

/** All nodes read one object of 1 GiB whole, as they load a checkpoint. */
export function hotObject({ nodes }: Scale): Section {
  const rows = nodes.map((count) => {
    const owners = equalCluster(count, 0);
    const groups = groupCount(OBJECT_BYTES);
    const owned = new Map<string, number>();
    for (let group = 0; group < groups; group++) {
      const { id } = owners.owner(objectName(0, 0), group, OBJECT_BYTES)!;
      owned.set(id, (owned.get(id) ?? 0) + 1);
    }
    const most = Math.max(...owned.values());
    const given = most * GROUP_BYTES * (count - 1);
    return {
      nodes: count,
      "nodes that own a part": owned.size,
      "groups of the most loaded": most,
      "it gives out, GiB": round(given / 2 ** 30, 1),
      "s at 10 Gbit/s": round(given / LINK_BYTES_PER_SECOND, 1),
      "s, if it were spread evenly": round((OBJECT_BYTES * (count - 1)) / count / LINK_BYTES_PER_SECOND, 1),
    };
  });
  return { title: "One hot object of 1 GiB, read whole by all nodes", note: "No copies at nodes that do not own.", rows };
}
