import type { PaceStats } from "../storage/store.js";
import { formatBytes } from "../util/byte-size.js";

/** Why the read-ahead is as it is, for people: the depth's reason, and the pace of the origin where it is known. */
export function explain(depth: string, pace: PaceStats | undefined): string {
  if (pace === undefined) return depth;
  const facts = [
    pace.latencyMs === undefined ? "" : `${pace.latencyMs.toFixed(pace.latencyMs < 10 ? 1 : 0)} ms to the first byte`,
    pace.bytesPerSecond === undefined ? "" : `${formatBytes(pace.bytesPerSecond)}/s with all of them in flight`,
    pace.slowDowns === 0 ? "" : `asked to slow down ${pace.slowDowns} times`,
  ].filter((fact) => fact !== "");
  return `${depth}; origin: up to ${pace.concurrency} requests in flight, spans of ${formatBytes(pace.spanBytes)}${facts.map((fact) => `, ${fact}`).join("")}`;
}
