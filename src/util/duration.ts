import { MillraceError } from "../errors.js";

const UNITS: Readonly<Record<string, number>> = { "": 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds from a number or a string such as `"10m"`. Throws MILLRACE_CONFIG, naming `option`. */
export function parseDuration(value: string | number, option: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|)\s*$/.exec(String(value));
  const ms = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!]!;
  if (!Number.isFinite(ms))
    throw new MillraceError("MILLRACE_CONFIG", `${option}: expected milliseconds or a string such as "10m", got ${JSON.stringify(value)}`);
  return ms;
}
