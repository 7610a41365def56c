/** Medians and spread over rounds, and the table that is printed. */
import type { Measurement, Scenario } from "./scenario.js";

export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}
export interface SummaryRow {
  readonly subject: string;
  readonly phase: string;
  readonly rounds: number;
  readonly samplesPerSecond: Figure;
  readonly gigabytesPerSecond: Figure;
  readonly cpuSecondsPerGigabyte: Figure;
  /** Samples per second as a share of the baseline's, of medians. */
  readonly ratio: number;
}

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** `runs`: subject → phase → one measurement a round. */
export function summarise(
  runs: ReadonlyMap<string, ReadonlyMap<string, readonly Measurement[]>>,
  baseline: Scenario["baseline"],
): SummaryRow[] {
  const rows: SummaryRow[] = [];
  for (const [subject, phases] of runs) {
    for (const [phase, measured] of phases) {
      rows.push({
        subject,
        phase,
        rounds: measured.length,
        samplesPerSecond: figure(measured.map(({ samples, wallSeconds }) => samples / wallSeconds)),
        gigabytesPerSecond: figure(measured.map(({ bytes, wallSeconds }) => bytes / 1e9 / wallSeconds)),
        cpuSecondsPerGigabyte: figure(measured.map(({ bytes, cpuSeconds }) => cpuSeconds / (bytes / 1e9))),
        ratio: Number.NaN,
      });
    }
  }
  const base = rows.find(({ subject, phase }) => subject === baseline.subject && phase === baseline.phase);
  return rows.map((row) => ({ ...row, ratio: row.samplesPerSecond.median / (base?.samplesPerSecond.median ?? Number.NaN) }));
}

function withSpread({ median, min, max }: Figure, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

export function table(rows: readonly SummaryRow[], baseline: Scenario["baseline"]): string {
  const head = ["subject", "phase", "samples/s", "GB/s", "CPU s/GB", `× ${baseline.subject}`];
  const cells = rows.map((row) => [
    row.subject,
    row.phase,
    withSpread(row.samplesPerSecond, 0),
    withSpread(row.gigabytesPerSecond, 2),
    withSpread(row.cpuSecondsPerGigabyte, 2),
    row.ratio.toFixed(2),
  ]);
  const widths = head.map((text, column) => Math.max(text.length, ...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    row
      .map((text, i) => text.padEnd(widths[i]!))
      .join("  ")
      .trimEnd();
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...cells.map(line)].join("\n");
}
