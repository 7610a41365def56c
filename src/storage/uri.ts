import { MillraceError } from "../errors.js";

/** A URI in the parts that a store cares for. `root + "/" + path` is the URI again. */
export interface ParsedUri {
  /** Lower case, without the colon. */
  readonly scheme: string;
  /** What a store is opened on: `s3://bucket`, `https://host:port`, `file://`, `memory://name`, `gs://bucket`. */
  readonly root: string;
  /** The object's name, or a prefix of names, below the root; no leading slash. */
  readonly path: string;
}

/**
 * Takes a URI apart. It is taken literally and never percent-decoded: what follows the root is the object's name, as with `aws s3`
 * (for http it is the URL's path and query as they are sent). `file:///abs` is absolute, `file:./x` and `file:x` are relative to the working directory.
 * Throws MILLRACE_CONFIG for what is no URI and for URIs with credentials in them.
 */
export function parseUri(uri: string): ParsedUri {
  const match = /^([a-zA-Z][a-zA-Z0-9+.-]*):(.*)$/s.exec(uri);
  if (match === null)
    throw new MillraceError("MILLRACE_CONFIG", `"${uri}" is not a URI: write s3://bucket/…, https://host/…, file:///path or file:./path`);
  const scheme = match[1]!.toLowerCase();
  const rest = match[2]!;
  if (scheme === "file") return { scheme, root: "file://", path: filePath(rest, uri) };
  if (!rest.startsWith("//")) throw new MillraceError("MILLRACE_CONFIG", `"${redactUri(uri)}": expected ${scheme}://name/…`);
  const slash = rest.indexOf("/", 2);
  const authority = slash === -1 ? rest.slice(2) : rest.slice(2, slash);
  const path = slash === -1 ? "" : rest.slice(slash + 1);
  return { scheme, root: `${scheme}://${checkAuthority(scheme, authority, uri)}`, path };
}

function checkAuthority(scheme: string, authority: string, uri: string): string {
  if (authority === "") throw new MillraceError("MILLRACE_CONFIG", `"${uri}": the part after ${scheme}:// is empty`);
  if (authority.includes("@"))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `"${redactUri(uri)}": a URI must not hold credentials or an endpoint; give them by the s3 options or the environment`,
    );
  if (scheme !== "http" && scheme !== "https") return authority;
  // URL lower-cases the host and drops the scheme's own port, so that one server has one identity.
  if (!URL.canParse(`${scheme}://${authority}`))
    throw new MillraceError("MILLRACE_CONFIG", `"${redactUri(uri)}": not a valid host and port`);
  return new URL(`${scheme}://${authority}`).host;
}

/** The absolute path below `/`, without its leading slash, with `.` and `..` of relative paths resolved. */
function filePath(rest: string, uri: string): string {
  if (rest.startsWith("//") && !rest.startsWith("///"))
    throw new MillraceError("MILLRACE_CONFIG", `"${uri}": a file URI has no host: write file:///absolute/path or file:./relative/path`);
  const absolute = rest.startsWith("//") ? rest.slice(2) : rest.startsWith("/") ? rest : `${process.cwd()}/${rest}`;
  const segments: string[] = [];
  for (const segment of absolute.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  // A closing slash tells a folder from a prefix of names: /a/ does not match /ab.
  return segments.join("/") + (segments.length > 0 && /\/\.{0,2}$/.test(absolute) ? "/" : "");
}

/** The URI as it may stand in a message: no user:password@, and for http neither query nor fragment, which may hold a signature. */
export function redactUri(uri: string): string {
  if (/^https?:/i.test(uri)) return uri.replace(/^(https?:\/\/)[^/?#]*@/i, "$1").replace(/[?#].*$/s, "");
  return uri.replace(/^([a-zA-Z][a-zA-Z0-9+.-]*:\/\/)[^/?#]*:[^/?#]*@/, "$1");
}

/** Percent-encodes a name for the path of a request: all but RFC 3986's unreserved characters and `/`, which is also SigV4's rule for S3. */
export function encodePath(path: string): string {
  // By way of UTF-8, because encodeURIComponent throws on half a surrogate pair.
  return encodeURIComponent(Buffer.from(path).toString())
    .replace(/%2F/g, "/")
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
