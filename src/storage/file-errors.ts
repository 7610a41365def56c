import { MillraceError, type MillraceErrorCode } from "../errors.js";
import type { Subject } from "./network-errors.js";

const CODES: Readonly<Record<string, readonly [MillraceErrorCode, string]>> = {
  ENOENT: ["MILLRACE_NOT_FOUND", "no such file (URIs are taken literally: write a space as a space, not as %20)"],
  ENOTDIR: ["MILLRACE_NOT_FOUND", "no such file: a part of the path is not a folder"],
  EISDIR: ["MILLRACE_NOT_FOUND", "this is a folder, not a file"],
  EACCES: ["MILLRACE_PERMISSION", "permission denied"],
  EPERM: ["MILLRACE_PERMISSION", "operation not permitted"],
  EROFS: ["MILLRACE_PERMISSION", "the file system is read-only"],
  ENOSPC: ["MILLRACE_NO_SPACE", "no space left on the device"],
  EDQUOT: ["MILLRACE_NO_SPACE", "the disk quota is used up"],
  ENAMETOOLONG: ["MILLRACE_CONFIG", "the name is too long for the file system"],
  ERR_INVALID_ARG_VALUE: ["MILLRACE_CONFIG", "the name cannot be a file's"],
};

/** True for a Node error with this code. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException)?.code ?? "");
}

/** A file system's failure as a MillraceError; what is not known (EIO, EMFILE, ESTALE of a network mount) is MILLRACE_UNAVAILABLE: it may pass. */
export function fileError(error: unknown, { uri, range }: Subject): MillraceError {
  if (error instanceof MillraceError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const [kind, said] = CODES[code ?? ""] ?? ["MILLRACE_UNAVAILABLE", message];
  return new MillraceError(kind, `${uri}: ${said}${code === undefined ? "" : ` (${code})`}`, { uri, range, cause: error });
}
