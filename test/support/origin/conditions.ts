/** Conditional requests and ranges, by RFC 9110 as S3 applies it. */
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./errors.js";

interface Version {
  readonly etag: string;
  readonly lastModified: number;
}

function names(header: string, etag: string): boolean {
  return header.split(",").some((tag) => tag.trim() === "*" || tag.trim().replaceAll('"', "") === etag.replaceAll('"', ""));
}

/** 304 where the caller's copy is current, else undefined. Throws PreconditionFailed. */
export function checkRead(headers: IncomingHttpHeaders, version: Version): 304 | undefined {
  const match = headers["if-match"];
  const since = Date.parse(headers["if-unmodified-since"] ?? "");
  if (match !== undefined ? !names(match, version.etag) : version.lastModified > since) throw new S3Error("PreconditionFailed");
  const none = headers["if-none-match"];
  const modified = Date.parse(headers["if-modified-since"] ?? "");
  if (none !== undefined ? names(none, version.etag) : version.lastModified <= modified) return 304;
  return undefined;
}

/** Throws PreconditionFailed where a write's condition does not hold. */
export function checkWrite(headers: IncomingHttpHeaders, current: Version | undefined): void {
  const none = headers["if-none-match"];
  if (none !== undefined && current !== undefined && names(none, current.etag)) throw new S3Error("PreconditionFailed");
  const match = headers["if-match"];
  if (match !== undefined && (current === undefined || !names(match, current.etag))) throw new S3Error("PreconditionFailed");
}

export interface ByteRange {
  readonly begin: number;
  /** Exclusive. */
  readonly end: number;
}

/** The range to serve; undefined is the whole object (no Range, one that is not understood, or several). Throws InvalidRange. */
export function parseRange(headers: IncomingHttpHeaders, version: Version, size: number): ByteRange | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? "");
  if (match === null || (match[1] === "" && match[2] === "")) return undefined;
  const ifRange = headers["if-range"];
  if (
    typeof ifRange === "string" &&
    !(ifRange.startsWith('"') ? names(ifRange, version.etag) : Date.parse(ifRange) === version.lastModified)
  )
    return undefined;
  const suffix = match[1] === "";
  const begin = suffix ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const end = suffix || match[2] === "" ? size : Math.min(size, Number(match[2]) + 1);
  if (!suffix && match[2] !== "" && Number(match[2]) < begin) return undefined;
  if (begin >= size) throw new S3Error("InvalidRange", undefined, { "content-range": `bytes */${size}` });
  return { begin, end };
}
