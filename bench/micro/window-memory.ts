/**
 * How much memory lanes need to change windows without a stall. A loop eats at rate 1, a fetcher brings windows in the order they are
 * needed at rate 1.05, as long as what is held stays within a budget; a window is held from its first fetched sample to its last used
 * one. Prints the part of the time that the loop moved, by budget (in units of all open windows), once the first windows are in.
 *
 *   npx tsx bench/micro/window-memory.ts
 */
import { uniformChunks } from "../../src/order/chunks.js";
import { EpochOrder } from "../../src/order/epoch-order.js";
import { turnoverShare } from "../../src/order/stagger.js";

const FETCH_RATE = 1.05;
const BUDGETS = [1, 1.125, 1.25, 1.5, 2];

function utilisation(sampleCount: number, lanes: number, chunk: number, windowChunks: number, budget: number): number {
  const chunks = uniformChunks(sampleCount, chunk);
  const spec = { mode: "window", seed: 3, lanes, chunks, windowChunks, id: "", windowBytes: 0, turnover: 0 } as const;
  const windows = [...new EpochOrder(spec, 0).windows(0)].map((w) => ({
    first: w.firstPosition,
    end: w.firstPosition + w.size * lanes,
    size: w.size,
  }));
  const ends = windows.toSorted((a, b) => a.end - b.end);
  const limit = budget * lanes * windowChunks * chunk;
  const total = Math.floor(sampleCount * 0.9); // the last windows only run out
  let [fetched, complete, completeSize, freed, freedCount, steps] = [0, 0, 0, 0, 0, 0];
  for (let position = 0; position < total; ) {
    fetched += Math.min(FETCH_RATE, Math.max(0, limit - (fetched - freed))); // bandwidth that finds no room is lost
    while (complete < windows.length && completeSize + windows[complete]!.size <= fetched + 1e-6) completeSize += windows[complete++]!.size;
    if (complete === windows.length || windows[complete]!.first > position) position++;
    while (freedCount < ends.length && ends[freedCount]!.end <= position) freed += ends[freedCount++]!.size;
    if (position > 0) steps++;
    if (steps > 10 * total) return 0;
  }
  return total / steps;
}

const rows: Record<string, string | number>[] = [];
for (const [lanes, windowChunks, chunk, aligned] of [
  [24, 1, 64, true],
  [24, 1, 64, false],
  [24, 2, 64, true],
  [24, 2, 64, false],
  [24, 3, 64, false],
  [24, 4, 64, true],
  [24, 1, 1, true],
  [24, 2, 1, true],
  [24, 2, 2, true],
  [24, 16, 64, true],
  [8, 2, 64, false],
  [4, 8, 64, false],
  [1, 16, 64, false],
] as const) {
  const perLane = chunk * Math.max(64, 16 * windowChunks);
  // "aligned": all lanes begin at the start of a chunk, the worst that a chunk size can do.
  const sampleCount = lanes * (aligned ? perLane : perLane + Math.ceil((chunk * windowChunks) / lanes)) * (lanes === 1 ? 4 : 1);
  const share = turnoverShare(sampleCount, lanes, chunk, windowChunks);
  const row: Record<string, string | number> = { lanes, window: windowChunks, chunk, aligned: String(aligned), turnover: share.toFixed(2) };
  for (const budget of BUDGETS) row[`${budget}x`] = utilisation(sampleCount, lanes, chunk, windowChunks, budget).toFixed(3);
  rows.push(row);
}
console.table(rows);
