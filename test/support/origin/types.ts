/** What the test origin can be asked to be, and what it counts. */

/** How the origin behaves; every field left out is "no shaping". Rates are probabilities in [0, 1] per request. */
export interface Shape {
  /** Time to the first byte of a response, milliseconds: fixed, or log-normal with this median and sigma. */
  firstByteMs?: number | { median: number; sigma: number } | undefined;
  /** Body bytes per second on one connection. */
  connectionBytesPerSecond?: number | undefined;
  /** Body bytes per second of all connections together. */
  totalBytesPerSecond?: number | undefined;
  /** Requests answered with `errorStatus`. */
  errorRate?: number | undefined;
  /** Default 503 (SlowDown). */
  errorStatus?: number | undefined;
  /** Sent with injected 429 and 503 answers. */
  retryAfterSeconds?: number | undefined;
  /** Requests that never get a response head. */
  hangRate?: number | undefined;
  /** Bodies that stop in the middle and keep the connection open. */
  stallRate?: number | undefined;
  /** Bodies that end in the middle, with the connection closed. */
  truncateRate?: number | undefined;
  /** Connections reset before a response. */
  resetRate?: number | undefined;
  /** Seed of all draws. Default 1. A new shape starts its draws anew. */
  seed?: number | undefined;
  /** The origin's clock is this far ahead of the machine's. */
  clockOffsetMs?: number | undefined;
  /** `bucket/prefix` for which every request is AccessDenied. */
  deny?: readonly string[] | undefined;
  /** Answer object requests as a plain web server without these would; `checksums`: of the parts of uploads. */
  without?: readonly ("etag" | "ranges" | "head" | "checksums")[] | undefined;
}

export interface OriginOptions {
  shape?: Shape | undefined;
  /** Buckets that exist at the start. `put` makes its bucket if it is missing. */
  buckets?: readonly string[] | undefined;
  /** GET, HEAD and LIST need no signature. Default false. */
  anonymousRead?: boolean | undefined;
  /** Default `us-east-1`; a request signed for another region is refused. */
  region?: string | undefined;
  /** Serve over TLS with a fresh self-signed certificate (handle's `ca`). Needs the openssl command. */
  tls?: boolean | undefined;
  /** A directory whose sub-directories are buckets, served as found at the start (what is PUT stays in memory). */
  root?: string | undefined;
  /** Life of credentials from `issue()`, milliseconds. Default one hour. */
  expireTokensAfter?: number | undefined;
  /** Default 0: chosen by the system. */
  port?: number | undefined;
}

export interface OriginCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  /** ISO time, of credentials from `issue()`. */
  expiration?: string | undefined;
}

export type RequestKind = "get" | "head" | "list" | "put" | "delete" | "multipart" | "bucket";

/** A status or an S3 error code to answer with, or a way to fail. */
export type Fault = number | string | "hang" | "reset" | "stall" | "truncate";
export interface FaultFilter {
  /** Only requests of this kind. */
  kind?: RequestKind | undefined;
  /** Only keys that begin so. */
  prefix?: string | undefined;
}

/** Ranges and keys beyond this many are not logged, so that a long run does not grow the origin. */
export const LOG_LIMIT = 20_000;

export interface OriginStats {
  /** Requests that arrived, whatever became of them. */
  requests: number;
  kinds: Record<RequestKind, number>;
  /** Responses by status. Requests without a response are not here. */
  statuses: Record<string, number>;
  /** Faults injected, by rate or by `failNext`. */
  faults: number;
  /** Body bytes handed to sockets for GET of objects. */
  bytesSent: number;
  /** Body bytes taken by PUT and UploadPart, decoded. */
  bytesReceived: number;
  /** Connections that carried at least one request. */
  connections: number;
  inFlight: number;
  inFlightMax: number;
  /** `bucket/key` → GETs answered with bytes, and the bytes (at most LOG_LIMIT keys). */
  keys: Record<string, { gets: number; bytes: number }>;
  /** The ranges served, in order (at most LOG_LIMIT): end is exclusive. */
  ranges: { key: string; begin: number; end: number }[];
  /** CPU time of the origin's process since the last reset, seconds. */
  cpuSeconds: number;
}

/** What the origin's process prints when it is ready, and all that another process needs to talk to it. */
export interface OriginInfo {
  /** `http://127.0.0.1:port`, or https. */
  endpoint: string;
  /** Plain HTTP, loopback: statistics, shaping and unsigned uploads. */
  controlUrl: string;
  credentials: OriginCredentials;
  region: string;
  /** PEM of the self-signed certificate, with `tls`. */
  ca?: string | undefined;
}
