/** What a run keeps besides its tensors, as JSON. */
import { MillraceError } from "../errors.js";

/** Throws MILLRACE_CONFIG for what would not come back as it was: by its path (`extra.best[2]`), where JSON itself does not refuse it. */
export function jsonOf(extra: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(extra);
  } catch (cause) {
    throw new MillraceError("MILLRACE_CONFIG", `extra: cannot be kept as JSON: ${(cause as Error).message}`, { cause });
  }
  if (json === undefined) throw new MillraceError("MILLRACE_CONFIG", `extra: cannot be kept as JSON: it is a ${typeof extra}`);
  checkKept(extra, "extra"); // It has no cycles, or there would be no JSON.
  return json;
}

/** JSON makes `{}` of these, or numbered properties, or leaves them out. What has a `toJSON` has said how it is to be kept. */
function checkKept(value: unknown, path: string): void {
  if (typeof value === "function" || typeof value === "symbol") throw lost(path, `a ${typeof value}`);
  if (typeof value !== "object" || value === null) return;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer)
    throw lost(path, value.constructor.name, "; save it as a tensor, or as an array of numbers (Array.from)");
  if (value instanceof Map || value instanceof Set) throw lost(path, value.constructor.name, "; keep its entries as an array");
  if ("toJSON" in value) return;
  for (const [key, part] of Object.entries(value)) checkKept(part, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`);
}

function lost(path: string, what: string, instead = ""): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", `${path}: ${what} cannot be kept as JSON${instead}`);
}
