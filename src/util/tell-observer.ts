import { isMillraceError, MillraceError } from "../errors.js";

/**
 * Tells the caller's observer. What it throws must end the call that it observes, and not the process: it becomes MILLRACE_CONFIG, with that as its
 * cause.
 */
export function tellObserver<T>(observer: ((value: T) => void) | undefined, value: T): void {
  try {
    observer?.(value);
  } catch (cause) {
    // One observer may tell another, and it has said so.
    if (isMillraceError(cause)) throw cause;
    throw new MillraceError("MILLRACE_CONFIG", `onProgress threw, so the call was ended: ${String(cause)}`, { cause });
  }
}
