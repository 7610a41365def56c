/** Medians and spread over rounds, and whether the bars are met. */
import type { Figures, Lookup, Phases, Scenario } from "./scenario.js";

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}
export interface SummaryRow {
  readonly subject: string;
  readonly phase: string;
  readonly rounds: number;
  readonly figures: Readonly<Record<string, Spread>>;
}
export interface BarResult {
  readonly name: string;
  readonly atLeast: number | undefined;
  readonly atMost: number | undefined;
  /** Of the medians; min and max are those of single rounds. */
  readonly value: Spread;
  readonly met: boolean;
}
export interface Summary {
  readonly scenario: string;
  readonly title: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly columns: Scenario["columns"];
  readonly rows: readonly SummaryRow[];
  readonly bars: readonly BarResult[];
}

/** Subject → one entry a round. */
export type Runs = ReadonlyMap<string, readonly Phases[]>;

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

export function summarise(scenario: Scenario, runs: Runs, machine: Summary["machine"]): Summary {
  const rows = [...runs].flatMap(([subject, rounds]) =>
    Object.keys(rounds[0]!).map(
      (phase): SummaryRow => ({ subject, phase, rounds: rounds.length, figures: spreads(rounds.map((round) => round[phase]!)) }),
    ),
  );
  const { name, title, columns } = scenario;
  return { scenario: name, title, machine, columns, rows, bars: barResults(scenario, runs, rows) };
}

function spreads(rounds: readonly Figures[]): Record<string, Spread> {
  return Object.fromEntries(Object.keys(rounds[0]!).map((name) => [name, spread(rounds.map((figures) => figures[name]!))]));
}

function barResults(scenario: Scenario, runs: Runs, rows: readonly SummaryRow[]): BarResult[] {
  const ofMedians: Lookup = (subject, phase, figure) =>
    found(rows.find((row) => row.subject === subject && row.phase === phase)?.figures[figure]?.median, subject, phase, figure);
  const most = Math.max(...[...runs.values()].map((rounds) => rounds.length));
  return scenario.bars.map(({ name, atLeast, atMost, value }) => {
    // A subject with fewer rounds lends its last one to the others' later rounds.
    const each = Array.from({ length: most }, (_, i) =>
      value((subject, phase, figure) =>
        found(runs.get(subject)?.at(Math.min(i, runs.get(subject)!.length - 1))?.[phase]?.[figure], subject, phase, figure),
      ),
    );
    const median = value(ofMedians);
    return {
      name,
      atLeast,
      atMost,
      value: { median, min: Math.min(...each), max: Math.max(...each) },
      met: median >= (atLeast ?? Number.NEGATIVE_INFINITY) && median <= (atMost ?? Number.POSITIVE_INFINITY),
    };
  });
}

function found(value: number | undefined, ...path: string[]): number {
  if (value === undefined) throw new Error(`No figure ${path.join(", ")} was reported`);
  return value;
}
