import type { PaceStats } from "../storage/origin-store.js";
import { formatBytes } from "../util/byte-size.js";
import { times } from "../util/times.js";

/** Why the read-ahead is as it is, for people: the depth's reason, and the pace of the origin where it is known. */
export function explain(depth: string, pace: PaceStats | undefined): string {
  if (pace === undefined) return depth;
  const facts = [
    pace.latencyMs === undefined ? "" : `${pace.latencyMs.toFixed(pace.latencyMs < 10 ? 1 : 0)} ms to the first byte`,
    pace.bytesPerSecond === undefined ? "" : `${formatBytes(pace.bytesPerSecond)}/s in the last full round`,
    pace.slowDowns === 0 ? "" : `asked to slow down ${times(pace.slowDowns)}`,
  ].filter((fact) => fact !== "");
  return `${depth}; origin: up to ${pace.concurrency} requests in flight, spans of ${formatBytes(pace.spanBytes)}${facts.map((fact) => `, ${fact}`).join("")}`;
}
