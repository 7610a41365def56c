/** The bytes a 206 says it holds: `begin` inclusive, `end` exclusive; `size` of the whole object, undefined where the server sends `*`. */
export interface ContentRange {
  readonly begin: number;
  readonly end: number;
  readonly size: number | undefined;
}

/** RFC 9110 §14.4. Undefined for anything but one valid `bytes a-b/n`. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i.exec(value?.trim() ?? "");
  if (match === null) return undefined;
  const begin = Number(match[1]);
  const end = Number(match[2]) + 1;
  const size = match[3] === "*" ? undefined : Number(match[3]);
  return begin < end && (size === undefined || end <= size) ? { begin, end, size } : undefined;
}

/** The value of a Range header, from an exclusive end. */
export function rangeHeader(begin: number, end: number): string {
  return `bytes=${begin}-${end - 1}`;
}

/** Milliseconds to wait by a Retry-After header: seconds or an HTTP date. Undefined where there is none that can be read. */
export function parseRetryAfter(value: string | undefined, now: number = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
