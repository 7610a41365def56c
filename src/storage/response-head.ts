/** What an HTTP/1.x response says before its body. */
export interface ResponseHead {
  readonly status: number;
  /** Names in lower case; values that came several times joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of the body, or what ends it. */
  readonly framing: number | "chunked" | "close";
  /** The connection may serve another request after the body. */
  readonly keepAlive: boolean;
  /** Bytes of the head itself, its empty line included. */
  readonly bytes: number;
}

/** Node's own limit is 16 KiB; S3 allows 2 KiB of metadata. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
const MAX_HEADERS = 200;

const START = "HTTP/1.";
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/;
const CONTENT_LENGTH = /^\d{1,15}$/;
/** Headers that say what the bytes are. Two different ones leave it open: a proxy may have believed the other. */
const SINGLE: ReadonlySet<string> = new Set(["etag", "last-modified", "content-range", "content-encoding", "location"]);
/** Two of these are refused even where they agree (RFC 9112 §6.3). */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);

/**
 * Reads the head that `bytes` begin with, by RFC 9112 without its leniences: CRLF only, no folded lines, one way of framing, stated once.
 * "incomplete" where its end is not there yet. Throws nothing.
 */
export function parseResponseHead(bytes: Buffer): ResponseHead | "incomplete" | "malformed" {
  if (bytes.toString("latin1", 0, START.length) !== START.slice(0, bytes.length)) return "malformed";
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return bytes.length < MAX_HEAD_BYTES ? "incomplete" : "malformed";
  if (end > MAX_HEAD_BYTES) return "malformed";
  const [statusLine, ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const start = STATUS_LINE.exec(statusLine!);
  const headers = lines.length > MAX_HEADERS ? undefined : parseHeaders(lines);
  if (start === null || headers === undefined) return "malformed";
  const status = Number(start[2]);
  const framing = framingOf(status, headers);
  if (framing === undefined) return "malformed";
  const close = start[1] === "0" || /(^|,)[ \t]*close[ \t]*(,|$)/i.test(headers.connection ?? "");
  return { status, headers, framing, keepAlive: !close && framing !== "close", bytes: end + 4 };
}

/** The first head that is no interim one (100 to 199, but 101, after which it is HTTP no more), and the bytes from there or behind it. */
export function parseFinalHead(bytes: Buffer): { readonly head: ReturnType<typeof parseResponseHead>; readonly rest: Buffer } {
  for (let rest = bytes; ; ) {
    const head = parseResponseHead(rest);
    if (typeof head === "string") return { head, rest };
    rest = rest.subarray(head.bytes);
    if (head.status >= 200) return { head, rest };
    if (head.status === 101) return { head: "malformed", rest };
  }
}

function parseHeaders(lines: readonly string[]): Record<string, string> | undefined {
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const match = HEADER_LINE.exec(line);
    if (match === null) return undefined;
    const name = match[1]!.toLowerCase();
    const value = match[2]!.trim();
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (FRAMING.has(name) || (SINGLE.has(name) && before !== value)) return undefined;
    else if (!SINGLE.has(name)) headers[name] = `${before}, ${value}`;
  }
  return headers;
}

function framingOf(status: number, headers: Readonly<Record<string, string>>): ResponseHead["framing"] | undefined {
  const { "content-length": length, "transfer-encoding": encoding } = headers;
  if (encoding !== undefined && (length !== undefined || encoding.toLowerCase() !== "chunked")) return undefined;
  if (length !== undefined && !CONTENT_LENGTH.test(length)) return undefined;
  if (status < 200 || status === 204 || status === 304) return 0;
  if (encoding !== undefined) return "chunked";
  return length === undefined ? "close" : Number(length);
}

/** The data of a chunked body as far as it is there, and whether it is all or can not go on. Chunk extensions and trailers are passed over. */
export function dechunk(raw: Buffer): { readonly body: Buffer; readonly ended: boolean } {
  const pieces: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = raw.indexOf("\r\n", at);
    if (lineEnd < 0) return { body: Buffer.concat(pieces), ended: false };
    const size = /^[0-9a-f]{1,8}(?=[ \t;]|$)/i.exec(raw.toString("latin1", at, lineEnd));
    const length = size === null ? 0 : Number.parseInt(size[0], 16);
    if (length === 0) return { body: Buffer.concat(pieces), ended: true };
    pieces.push(raw.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
}
