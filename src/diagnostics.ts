/** Every figure that `mill.stats()` shows: its name, its unit and what it means, in one place. docs/metrics.md is held against this table by a test. */
import type { MillStats } from "./api.js";

export interface Metric {
  readonly group: "origin" | "memory" | "disk" | "slab" | "metadata" | "engine";
  readonly name: string;
  readonly unit: "bytes" | "requests" | "blocks" | "entries" | "count" | "items";
  readonly meaning: string;
}

export const METRICS: readonly Metric[] = [
  { group: "origin", name: "requests", unit: "requests", meaning: "Ranged GETs sent to stores, tries included" },
  { group: "origin", name: "bytes", unit: "bytes", meaning: "Bytes that arrived from stores" },
  { group: "origin", name: "lists", unit: "requests", meaning: "Listings asked of stores (each may take several pages)" },
  { group: "origin", name: "stats", unit: "requests", meaning: "Objects looked up at stores (HEAD)" },
  { group: "origin", name: "retries", unit: "requests", meaning: "Requests sent again after a failure that another try may mend" },
  { group: "origin", name: "errors", unit: "requests", meaning: "Requests that failed, those retried included" },
  { group: "origin", name: "inFlight", unit: "requests", meaning: "Requests under way now" },
  { group: "origin", name: "queued", unit: "requests", meaning: "Requests that wait for the limits now" },
];

/** The present figures, on memory that the engine's thread and the caller's share, so that `stats()` need not ask. */
export class StatsBoard {
  readonly buffer: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(METRICS.length * 8)) {
    this.buffer = buffer;
    this.#values = new Float64Array(buffer);
  }

  /** Writes what `figures` has; a figure that is not in the table is a mistake of ours. */
  write(figures: MillStats): void {
    METRICS.forEach(({ group, name }, i) => {
      this.#values[i] = Number(figures[group]?.[name] ?? 0);
    });
  }

  read(): MillStats {
    const groups: Record<string, Record<string, number>> = {};
    METRICS.forEach(({ group, name }, i) => {
      groups[group] ??= {};
      groups[group][name] = this.#values[i]!;
    });
    return groups;
  }
}
