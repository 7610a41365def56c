/** What a request asks for: path style or virtual host, its query, and the kind it is counted as. */
import type { IncomingMessage } from "node:http";
import { S3Error } from "./errors.js";
import type { RequestKind } from "./types.js";

export interface OriginRequest {
  readonly http: IncomingMessage;
  readonly method: string;
  readonly rawPath: string;
  readonly query: ReadonlyMap<string, string>;
  /** Empty for the service itself. */
  readonly bucket: string;
  /** Empty for the bucket itself. */
  readonly key: string;
  readonly kind: RequestKind;
  /** Of the signature; undefined for an unsigned request. Set once it is checked. */
  payloadHash: string | undefined;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error("InvalidArgument", "Could not parse the specified URI");
  }
}

function parseQuery(text: string): Map<string, string> {
  const query = new Map<string, string>();
  for (const pair of text.split("&")) {
    const equals = pair.indexOf("=");
    if (pair !== "") query.set(decode(equals < 0 ? pair : pair.slice(0, equals)), equals < 0 ? "" : decode(pair.slice(equals + 1)));
  }
  return query;
}

function kindOf(method: string, bucket: string, key: string, query: ReadonlyMap<string, string>): RequestKind {
  if (query.has("uploads") || query.has("uploadId")) return "multipart";
  if (bucket !== "" && key === "" && method === "GET") return "list";
  if (key === "") return "bucket";
  if (method === "GET") return "get";
  if (method === "HEAD") return "head";
  return method === "DELETE" ? "delete" : "put";
}

/** Throws S3Error for a URI that cannot be parsed. `bucket.localhost:port` is virtual-host style, all else path style. */
export function parseRequest(http: IncomingMessage): OriginRequest {
  const method = http.method ?? "GET";
  const url = http.url ?? "/";
  const mark = url.indexOf("?");
  const rawPath = mark < 0 ? url : url.slice(0, mark);
  const query = parseQuery(mark < 0 ? "" : url.slice(mark + 1));
  const host = /^(.+)\.localhost(?::\d+)?$/.exec(http.headers.host ?? "");
  const path = decode(rawPath).slice(1);
  const slash = path.indexOf("/");
  const bucket = host?.[1] ?? (slash < 0 ? path : path.slice(0, slash));
  const key = host !== null ? path : slash < 0 ? "" : path.slice(slash + 1);
  return { http, method, rawPath, query, bucket, key, kind: kindOf(method, bucket, key, query), payloadHash: undefined };
}
