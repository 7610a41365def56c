/** What a scenario is, and what its subjects report. */

/** What was measured, by name: `gigabytesPerSecond`, `au`, …; see a scenario's columns for units. */
export type Figures = Readonly<Record<string, number>>;
/** Phase of one subject's process (`cold`, `warm`, …) → its figures. */
export type Phases = Readonly<Record<string, Figures>>;

export interface Subject {
  readonly name: string;
  /** A script, `.ts` or `.js`, that takes its parameters as JSON in argv and ends with `report()`. */
  readonly script: URL;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Figures that every phase must show exactly; anything else fails the run. */
  readonly expected?: Figures | undefined;
  /** Figures that single phases must show exactly, by phase; such a phase must be there. */
  readonly expectedIn?: Phases | undefined;
  /** Added to the environment of its process. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** At most this many rounds: for subjects that take minutes. */
  readonly rounds?: number | undefined;
}

export interface PreparedScenario {
  readonly subjects: readonly Subject[];
  /** Called before each process. */
  reset?(subject: Subject): Promise<void>;
  /** Called after each process: what the servers counted meanwhile becomes the phase `origin`. */
  observe?(subject: Subject): Promise<Figures>;
  close(): Promise<void>;
}

/** A figure of the table, and of the chart that bears its name. */
export interface Column {
  readonly figure: string;
  /** With its unit: `GB/s`. */
  readonly title: string;
  readonly digits: number;
  /** Draw bench/results/<scenario>-<figure>.svg. */
  readonly chart?: boolean | undefined;
}

/** A figure of one subject in one phase. */
export type Lookup = (subject: string, phase: string, figure: string) => number;

/** A bound that the scenario is held to. */
export interface Bar {
  readonly name: string;
  readonly atLeast?: number | undefined;
  readonly atMost?: number | undefined;
  /** From the medians over all rounds for the result, from each round's own figures for the spread. */
  readonly value: (of: Lookup) => number;
}

export interface PrepareOptions {
  /** So small that only its counts mean anything. */
  readonly smoke: boolean;
  /** The long matrix instead of the default. */
  readonly long: boolean;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Default number of rounds, for the whole bench to end within 20 minutes. */
  readonly rounds: number;
  /** Too long for the 20 minutes: runs where it is named, in smoke runs and in long ones. Default false. */
  readonly byNameOnly?: boolean;
  readonly columns: readonly Column[];
  readonly bars: readonly Bar[];
  prepare(options: PrepareOptions): Promise<PreparedScenario>;
}
