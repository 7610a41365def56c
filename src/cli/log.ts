import type { Logger } from "../index.js";
import type { Console } from "./command.js";

const LEVELS = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof LEVELS)[number];

export interface LogOptions {
  /** The least that is written. */
  readonly level: Level;
  /** A JSON object a line. */
  readonly json: boolean;
}

/** Writes to stderr: results have stdout to themselves. */
export function consoleLogger(console: Console, { level, json }: LogOptions): Logger {
  const least = LEVELS.indexOf(level);
  const line = (at: Level, fields: object, message: string): void => {
    if (LEVELS.indexOf(at) < least) return;
    const time = new Date().toISOString();
    console.err(json ? JSON.stringify({ time, level: at, message, ...fields }) : `${time} ${at} ${message}${asText(fields)}`);
  };
  return {
    debug: (fields, message) => line("debug", fields, message),
    info: (fields, message) => line("info", fields, message),
    warn: (fields, message) => line("warn", fields, message),
    error: (fields, message) => line("error", fields, message),
  };
}

function asText(fields: object): string {
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    .join("");
}
