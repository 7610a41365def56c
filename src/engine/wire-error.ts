/** Errors as messages: structured clone drops class, code and fields, so they are taken apart here and rebuilt on the other side. */
import { MillraceError, type MillraceErrorCode } from "../errors.js";

export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  readonly details: Pick<MillraceError, "uri" | "range" | "sample"> | undefined;
  readonly cause: WireError | undefined;
}

/** Causes of causes are kept this deep; a cycle ends there too. */
const CAUSE_DEPTH = 5;

export function toWireError(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error))
    return { name: "Error", message: String(error), stack: undefined, code: undefined, details: undefined, cause: undefined };
  const code = (error as { code?: unknown }).code;
  const { uri, range, sample } = error as MillraceError;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    code: typeof code === "string" ? code : undefined,
    details: error instanceof MillraceError ? { ...(uri && { uri }), ...(range && { range }), ...(sample && { sample }) } : undefined,
    cause: error.cause === undefined || depth === CAUSE_DEPTH ? undefined : toWireError(error.cause, depth + 1),
  };
}

export function fromWireError(wire: WireError): Error {
  const cause = wire.cause === undefined ? undefined : fromWireError(wire.cause);
  const error =
    wire.details === undefined
      ? Object.assign(new Error(wire.message, cause && { cause }), { name: wire.name }, wire.code === undefined ? {} : { code: wire.code })
      : new MillraceError(wire.code as MillraceErrorCode, wire.message, { ...wire.details, cause });
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}
