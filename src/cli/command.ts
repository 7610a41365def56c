import type { ParseArgsConfig } from "node:util";
import type { MillraceOptions } from "../index.js";

/** Where a command writes and what ends it. */
export interface Console {
  /** Results. */
  out(line: string): void;
  /** Everything else. */
  err(line: string): void;
  /** Fires on SIGTERM and SIGINT. */
  readonly signal: AbortSignal;
}

export interface Invocation {
  readonly options: MillraceOptions;
  readonly positionals: readonly string[];
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly json: boolean;
  readonly console: Console;
}

export interface Command {
  readonly summary: string;
  /** What follows the command's name. */
  readonly parameters: string;
  /** A line each. */
  readonly help: readonly string[];
  readonly flags: NonNullable<ParseArgsConfig["options"]>;
  /** How many positional parameters it takes. */
  readonly takes: { readonly least: number; readonly most: number };
  /** Resolves to the exit code. */
  run(invocation: Invocation): Promise<number>;
}
