/**
 * What peers say to each other: HTTP/1.1, version 1.
 *
 *   GET /v1/peer                          who this is, and how it cuts and hashes (JSON)
 *   GET /v1/blocks/{object id}/{block}    one block of an object version
 *   GET /v1/blocks/{object id}/{a}-{b}    blocks a to b, of one group, back to back
 *   GET /v1/held/{object id}/{a}-{b}      as for blocks; their bytes stay: they are fetched and held where there is room (JSON: how many)
 *   GET /v1/held                          how many bytes are held of what lies below a URI (JSON)
 *   GET /healthz, /readyz                 for those who run the process; no secret needed, nothing told
 *
 * A Range header counts from the first byte of what the path names. The asker says which object it means (URI, size, etag: their hash is the
 * id), so that the owner can fetch it, through its own mounts, where it does not hold it. Answers have a length and a crc32c of each block's
 * bytes in their head. While the owner fetches, it says 102 now and then.
 */
import { z } from "zod";
import { objectId } from "../blocks/object-version.js";
import { groupOf } from "./group.js";
import { isWeight } from "./member.js";

export const PROTOCOL_VERSION = 1;
export const PEER_PATH: string = `/v${PROTOCOL_VERSION}/peer`;

/** Names of headers. */
export const HEADER = {
  /** Who asks, or answers. */
  peer: "x-millrace-peer",
  options: "x-millrace-options",
  uri: "x-millrace-uri",
  size: "x-millrace-size",
  etag: "x-millrace-etag",
  priority: "x-millrace-priority",
  wide: "x-millrace-wide",
  /** "1": the owner did not serve; who is asked holds what it fetches, meanwhile. */
  instead: "x-millrace-instead",
  crc32c: "x-millrace-crc32c",
  /** The server's clock, milliseconds since 1970. */
  time: "x-millrace-time",
  proof: "x-millrace-proof",
} as const;
/** What a request's signature covers, besides its method and path. */
const SIGNED = [
  "range",
  HEADER.peer,
  HEADER.options,
  HEADER.uri,
  HEADER.size,
  HEADER.etag,
  HEADER.priority,
  HEADER.wide,
  HEADER.instead,
] as const;

const BLOCKS_PATH = /^\/v1\/(?:blocks|held)\/([0-9a-f]{32})\/(\d{1,15})(?:-(\d{1,15}))?$/;
const RANGE = /^bytes=(\d{1,15})-(\d{1,15})$/;
/** Priorities beyond are as good as it. */
const MAX_PRIORITY = 99;

export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** What peers must agree on: where they differ, they would mean different bytes by the same words. */
export interface PeerTerms {
  readonly version: number;
  readonly blockSize: number;
  readonly groupBytes: number;
  /** Name and version of the way owners are found. */
  readonly hashing: string;
}

export interface PeerIdentity extends PeerTerms {
  readonly id: string;
  /** Which process answers: another for each start, so that two nodes with one id can be told apart. */
  readonly instance?: string | undefined;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** Which object is meant. */
export interface ObjectIdentity {
  readonly uri: string;
  readonly size: number;
  readonly etag: string;
}

/** Bytes of one object that a peer asks for. */
export interface BlockRequest {
  readonly objectId: string;
  readonly object: ObjectIdentity;
  /** Bytes of the object that the path names: `end` exclusive. */
  readonly whole: { readonly begin: number; readonly end: number };
  /** Bytes of the object that are wanted. */
  readonly begin: number;
  readonly end: number;
  /** The request has a Range header. */
  readonly ranged: boolean;
  readonly priority: number;
  readonly wide: boolean;
  /** The asker was not served by the owner. */
  readonly instead: boolean;
}

/** Why a request gets no answer; what is counted. "object": none of ours. "origin": it could not be fetched. */
export type RefusalReason =
  | "path"
  | "malformed"
  | "oversized"
  | "unsigned"
  | "signature"
  | "expired"
  | "options"
  | "object"
  | "busy"
  | "closing"
  | "origin";

/** An answer that is none, in one line. */
export class PeerRefusal {
  readonly status: number;
  readonly reason: RefusalReason;
  readonly message: string;

  constructor(status: number, reason: RefusalReason, message: string) {
    this.status = status;
    this.reason = reason;
    this.message = message;
  }
}

const identitySchema = z.object({
  id: z.string().min(1).max(256),
  instance: z.string().max(256).optional(),
  version: z.number().int(),
  blockSize: z.number().int(),
  groupBytes: z.number().int(),
  hashing: z.string().max(256),
  weight: z.number().refine(isWeight),
  labels: z.record(z.string(), z.string()),
});

export function formatIdentity({ id, instance, version, blockSize, groupBytes, hashing, weight, labels }: PeerIdentity): string {
  return JSON.stringify({ id, instance, version, blockSize, groupBytes, hashing, weight, labels });
}

/** Undefined where the text is no peer's. */
export function parseIdentity(text: string): PeerIdentity | undefined {
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The terms as a header's value. */
export function formatTerms({ version, blockSize, groupBytes, hashing }: PeerTerms): string {
  return `version=${version}; block=${blockSize}; group=${groupBytes}; hashing=${hashing}`;
}

/** What the first difference is called, with both values; undefined where there is none. */
export function differingTerm(ours: PeerTerms, theirs: PeerTerms): string | undefined {
  const names = { version: "protocol version", blockSize: "cache.blockSize", groupBytes: "group size", hashing: "hashing" } as const;
  const keys = Object.keys(names) as (keyof typeof names)[];
  const key = keys.find((name) => ours[name] !== theirs[name]);
  return key && `${names[key]} (${ours[key]} here, ${theirs[key]} there)`;
}

/** The parts of a request that its signature covers. `headers`: names in lower case. */
export function signedParts(path: string, headers: Headers): string[] {
  return ["GET", path, ...SIGNED.map((name) => String(headers[name] ?? ""))];
}

export function blocksPath(id: string, first: number, last: number): string {
  return `/v${PROTOCOL_VERSION}/blocks/${id}/${first === last ? first : `${first}-${last}`}`;
}

/** The URI that a request is about; undefined where it names none. */
export function parseUriHeader(headers: Headers): string | undefined {
  return parseText(headers[HEADER.uri]);
}

/** The headers that name an object. Throws URIError where its path or etag is no text (a lone surrogate). */
export function objectHeaders({ uri, size, etag }: ObjectIdentity): Record<string, string> {
  return { [HEADER.uri]: encodeURIComponent(uri), [HEADER.size]: String(size), [HEADER.etag]: encodeURIComponent(etag) };
}

/** True for a path that names blocks. */
export function isBlocksPath(path: string): boolean {
  return BLOCKS_PATH.test(path);
}

/** Reads a request for blocks, believing nothing: the object's id must be the hash of what the headers say. Never throws. */
export function parseBlockRequest(path: string, headers: Headers, blockSize: number): BlockRequest | PeerRefusal {
  const match = BLOCKS_PATH.exec(path);
  if (match === null) return new PeerRefusal(404, "path", "no such path");
  const id = match[1]!;
  const object = parseObject(headers);
  if (object === undefined) return new PeerRefusal(400, "malformed", "the headers name no object");
  if (objectId(object.uri, object) !== id) return unknownObject();
  const whole = wholeOf(Number(match[2]), Number(match[3] ?? match[2]), blockSize, object.size);
  if (whole === undefined) return new PeerRefusal(400, "malformed", "the path names no blocks of one group of the object");
  const { range } = headers;
  const part = range === undefined ? whole : partOfRange(range, whole);
  if (part === undefined) return new PeerRefusal(416, "malformed", "the range does not lie in what the path names");
  const priority = parseCount(headers[HEADER.priority]) ?? 0;
  const [wide, instead] = [HEADER.wide, HEADER.instead].map((name) => headers[name] === "1") as [boolean, boolean];
  const ranged = range !== undefined;
  return { objectId: id, object, whole, ...part, ranged, priority: Math.min(priority, MAX_PRIORITY), wide, instead };
}

/** Not 404, which says that the path is none of this version's. One answer for an object that is not what its id says and for one of a mount that is not here. */
export function unknownObject(): PeerRefusal {
  return new PeerRefusal(403, "object", "no such object here");
}

function parseObject(headers: Headers): ObjectIdentity | undefined {
  const uri = parseText(headers[HEADER.uri]);
  const etag = parseText(headers[HEADER.etag]);
  const size = parseCount(headers[HEADER.size]);
  return uri === undefined || etag === undefined || size === undefined ? undefined : { uri, size, etag };
}

function parseText(value: Headers[string]): string | undefined {
  if (typeof value !== "string") return undefined;
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

function parseCount(value: Headers[string]): number | undefined {
  return typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

function wholeOf(first: number, last: number, blockSize: number, size: number): BlockRequest["whole"] | undefined {
  const begin = first * blockSize;
  const end = Math.min((last + 1) * blockSize, size);
  if (last < first || last * blockSize >= size) return undefined;
  // A block may be longer than a group.
  return first === last || groupOf(begin) === groupOf(end - 1) ? { begin, end } : undefined;
}

function partOfRange(range: Headers[string], whole: BlockRequest["whole"]): BlockRequest["whole"] | undefined {
  const match = typeof range === "string" ? RANGE.exec(range) : null;
  if (match === null) return undefined;
  const begin = whole.begin + Number(match[1]);
  const end = whole.begin + Number(match[2]) + 1;
  return begin < end && end <= whole.end ? { begin, end } : undefined;
}

/** The checksums of an answer's blocks, as a header's value. */
export function formatChecksums(checksums: readonly number[]): string {
  return checksums.map((crc) => crc.toString(16).padStart(8, "0")).join(",");
}

/** Undefined where it is not one of `count` blocks each. */
export function parseChecksums(value: Headers[string], count: number): number[] | undefined {
  if (typeof value !== "string" || !/^[0-9a-f]{8}(,[0-9a-f]{8})*$/.test(value)) return undefined;
  const checksums = value.split(",").map((hex) => Number.parseInt(hex, 16));
  return checksums.length === count ? checksums : undefined;
}
