/** ListObjectsV2. */
import { S3Error } from "./errors.js";
import { type Bucket, compareUtf8 } from "./objects.js";
import { encodeRfc3986 } from "./sigv4.js";
import { type XmlNode, xmlDocument } from "./xml.js";

const MAX_KEYS = 1000;

/** Index of the first key that sorts after `after` (or is at or after `prefix`). */
function firstIndex(keys: readonly string[], after: string, prefix: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const key = keys[middle]!;
    if (compareUtf8(key, after) <= 0 || compareUtf8(key, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Page {
  readonly keys: readonly string[];
  readonly prefixes: readonly string[];
  /** The last key or common prefix of a page that others follow. */
  readonly last: string | undefined;
}

/** One page of keys below `prefix`; those with the delimiter after it are rolled up. */
function page(sorted: readonly string[], prefix: string, delimiter: string, after: string, limit: number): Page {
  const keys: string[] = [];
  const prefixes: string[] = [];
  let last = "";
  // A page that ended with a common prefix is followed by what comes after all of that prefix's keys.
  const cutAfter = delimiter === "" ? -1 : after.indexOf(delimiter, prefix.length);
  let rolled = cutAfter >= 0 && cutAfter + delimiter.length === after.length && after.startsWith(prefix) ? after : undefined;
  for (let i = firstIndex(sorted, after, prefix); i < sorted.length; i++) {
    const key = sorted[i]!;
    if (!key.startsWith(prefix)) break;
    if (rolled !== undefined && key.startsWith(rolled)) continue;
    if (keys.length + prefixes.length === limit) return { keys, prefixes, last };
    const cut = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    if (cut < 0) {
      last = key;
      keys.push(key);
    } else {
      rolled = last = key.slice(0, cut + delimiter.length);
      prefixes.push(rolled);
    }
  }
  return { keys, prefixes, last: undefined };
}

function startAfter(query: ReadonlyMap<string, string>): string {
  const token = query.get("continuation-token");
  if (token === undefined) return query.get("start-after") ?? "";
  const key = Buffer.from(token, "base64url").toString();
  if (Buffer.from(key).toString("base64url") !== token)
    throw new S3Error("InvalidArgument", "The continuation token provided is incorrect");
  return key;
}

/** The answer to GET /bucket?list-type=2. Throws S3Error. */
export function listObjects(name: string, bucket: Bucket, query: ReadonlyMap<string, string>): string {
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const maxKeys = Number(query.get("max-keys") ?? MAX_KEYS);
  if (!Number.isInteger(maxKeys) || maxKeys < 0) throw new S3Error("InvalidArgument", "max-keys must be a whole number");
  const encoding = query.get("encoding-type");
  const encode = encoding === "url" ? (text: string) => encodeRfc3986(text, true) : (text: string) => text;
  const limit = Math.min(maxKeys, MAX_KEYS);
  const found =
    limit === 0 ? { keys: [], prefixes: [], last: undefined } : page(bucket.keys(), prefix, delimiter, startAfter(query), limit);
  const contents: XmlNode[] = found.keys.map((key) => {
    const { size, etag, lastModified } = bucket.get(key);
    return { Key: encode(key), LastModified: new Date(lastModified).toISOString(), ETag: etag, Size: size, StorageClass: "STANDARD" };
  });
  return xmlDocument("ListBucketResult", {
    Name: name,
    Prefix: encode(prefix),
    Delimiter: delimiter === "" ? undefined : encode(delimiter),
    MaxKeys: limit,
    EncodingType: encoding,
    KeyCount: contents.length + found.prefixes.length,
    IsTruncated: found.last !== undefined,
    ContinuationToken: query.get("continuation-token"),
    NextContinuationToken: found.last === undefined ? undefined : Buffer.from(found.last).toString("base64url"),
    StartAfter: query.has("start-after") ? encode(query.get("start-after")!) : undefined,
    Contents: contents,
    CommonPrefixes: found.prefixes.map((text) => ({ Prefix: encode(text) })),
  });
}
