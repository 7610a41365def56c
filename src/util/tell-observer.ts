import { isMillraceError, MillraceError } from "../errors.js";

/**
 * Tells the caller's observer. What it throws must end the call that it observes, and not the process: it becomes MILLRACE_CONFIG, with that as its
 * cause. An async one is not waited for; what its promise rejects with is `late`, by the same rule.
 */
export function tellObserver<T>(observer: ((value: T) => unknown) | undefined, value: T, late: (error: MillraceError) => void): void {
  try {
    const told = observer?.(value);
    if (told instanceof Promise) told.catch((cause) => late(endedBy(cause)));
  } catch (cause) {
    throw endedBy(cause);
  }
}

function endedBy(cause: unknown): MillraceError {
  // One observer may tell another, and it has said so.
  if (isMillraceError(cause)) return cause;
  return new MillraceError("MILLRACE_CONFIG", `onProgress threw, so the call was ended: ${String(cause)}`, { cause });
}
