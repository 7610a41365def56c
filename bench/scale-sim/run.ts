/**
 * Clusters larger than any at hand: 8 to 4,096 nodes, with the library's own hashing, order and limits. Prints tables; docs/scale.md says
 * what they mean.
 *
 *   npx tsx bench/scale-sim/run.ts [--json] [--small]
 */
import { parseArgs } from "node:util";
import { balance, billion, weights } from "./balance.js";
import { FULL, type Scale, type Section, SMALL } from "./cluster.js";
import { orders, originReads, traffic } from "./epochs.js";
import { hotObject, hotRange } from "./hot-spot.js";
import { moves } from "./moves.js";

const PARTS: readonly ((scale: Scale) => Section)[] = [balance, billion, weights, moves, originReads, traffic, orders, hotRange, hotObject];

const { values } = parseArgs({ options: { json: { type: "boolean" }, small: { type: "boolean" } } });
const sections: Section[] = [];
for (const part of PARTS) {
  const begin = performance.now();
  const section = part(values.small ? SMALL : FULL);
  sections.push(section);
  if (values.json) continue;
  console.log(`\n${section.title} (${((performance.now() - begin) / 1000).toFixed(1)} s)\n${section.note}`);
  console.table(section.rows);
}
if (values.json) console.log(JSON.stringify(sections));
