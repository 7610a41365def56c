/** What a scenario is, and what its subjects report. */

/** One measured phase of one subject's process. */
export interface Measurement {
  readonly samples: number;
  /** Payload bytes that reached batches. */
  readonly bytes: number;
  /** Sum of the first 32-bit word of every sample: shows that it was these samples. */
  readonly firstWords: number;
  readonly wallSeconds: number;
  /** User and system time of the subject's process, all threads. */
  readonly cpuSeconds: number;
}
/** Phase (`cold`, `warm`, …) → what was measured. */
export type Phases = Readonly<Record<string, Measurement>>;

export interface Subject {
  readonly name: string;
  /** A script that takes its parameters as JSON in argv and ends with `report()`. */
  readonly script: URL;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** What each phase must have read; anything else fails the run. */
  readonly expected: Pick<Measurement, "samples" | "bytes" | "firstWords">;
}

export interface PreparedScenario {
  readonly subjects: readonly Subject[];
  /** Called before each process. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** The subject and phase that ratios are given against. */
  readonly baseline: { readonly subject: string; readonly phase: string };
  /** `smoke`: so small that only its counts mean anything. */
  prepare(options: { readonly smoke: boolean }): Promise<PreparedScenario>;
}
