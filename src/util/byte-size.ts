import { MillraceError } from "../errors.js";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Bytes from a number or a string such as `"4GiB"` or `"1.5 MB"`. Throws MILLRACE_CONFIG, naming `option`. */
export function parseBytes(value: string | number, option: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B|)\s*$/.exec(String(value));
  const unit = match === null ? undefined : UNITS[match[2]!];
  const bytes = match === null || unit === undefined ? Number.NaN : Math.floor(Number(match[1]) * unit);
  if (!Number.isSafeInteger(bytes))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: expected bytes as a number or a string such as "4GiB", got ${JSON.stringify(value)}`,
    );
  return bytes;
}

/** `1536` → `"1.5 KiB"`: for messages. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${Number(value.toFixed(value < 10 && unit !== "B" ? 2 : 1))} ${unit}`;
    value /= 1024;
  }
  return `${Number(value.toFixed(2))} TiB`;
}
