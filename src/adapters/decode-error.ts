import { MillraceError } from "../errors.js";

/** The error for bytes that cannot be decoded. */
export function decodeError(message: string, cause?: unknown): MillraceError {
  return new MillraceError("MILLRACE_DECODE", message, { cause });
}

/** The error for an option, named first in the message. */
export function configError(message: string, cause?: unknown): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", message, { cause });
}
