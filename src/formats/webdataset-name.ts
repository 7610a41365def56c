import { baseName } from "./names.js";

/** What the name of a tar member says. */
export interface MemberName {
  readonly key: string;
  readonly field: string;
}

/** Members that describe the archive, such as `__index__.json` or those in `__meta__/`. */
const ARCHIVE_NOTE = /^(\.\/)?__[^/]*__(\.[^/]*)?($|\/)/;

/**
 * `train/a1.seg.PNG` → key `train/a1`, field `seg.png`. Undefined for what is no part of a sample:
 * `__name__` members, hidden files, and names without a dot after their last slash.
 */
export function splitName(name: string): MemberName | undefined {
  const base = baseName(name);
  const dot = base.indexOf(".");
  if (dot <= 0 || ARCHIVE_NOTE.test(name)) return undefined;
  return { key: name.slice(0, name.length - base.length + dot), field: base.slice(dot + 1).toLowerCase() };
}
