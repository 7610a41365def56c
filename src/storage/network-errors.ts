import { MillraceError } from "../errors.js";
import { parseRetryAfter } from "./http-range.js";
import { redactUri } from "./uri.js";

/** What an error is about, for its message and details. */
export interface Subject {
  readonly uri: string;
  readonly range?: { readonly begin: number; readonly end: number } | undefined;
}

/** A server's answer that is not what was asked for. Header names in lower case. */
export interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The first 8 KiB of the body. */
  readonly body: string;
}

/** One header as one string. */
export function header(headers: Refusal["headers"], name: string): string | undefined {
  const value = headers[name];
  return typeof value === "object" ? value.join(", ") : value;
}

const TIMEOUTS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: "no connection in time",
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_BODY_TIMEOUT: "the body stalled",
  ETIMEDOUT: "the connection timed out",
  TimeoutError: "no answer in time",
};

/** Certificates that cannot be trusted: no later try mends them. */
const TLS_TRUST = /^(ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED|UNABLE_TO_|ERR_SSL_)/;

/** Undici's words for a proxy's own answers. */
const PROXY_REFUSAL = /^Proxy .*?\((\d{3})\)/;

/** A socket's, resolver's or client's failure as a MillraceError: _TIMEOUT, _CONFIG for TLS trust, _PERMISSION for a proxy's, else _UNAVAILABLE. */
export function networkError(error: unknown, subject: Subject): MillraceError {
  if (error instanceof MillraceError) return error;
  const { code, name, message } = error as NodeJS.ErrnoException;
  const details = { uri: redactUri(subject.uri), range: subject.range, cause: error };
  const timeout = TIMEOUTS[code ?? ""] ?? TIMEOUTS[name];
  if (timeout !== undefined) return new MillraceError("MILLRACE_TIMEOUT", `${details.uri}: ${timeout}`, details);
  if (code === "UND_ERR_DESTROYED" || code === "UND_ERR_CLOSED")
    return new MillraceError("MILLRACE_CLOSED", `${details.uri}: the store was closed`, details);
  const refused = PROXY_REFUSAL.exec(message ?? "")?.[1];
  if (refused === "407")
    return new MillraceError("MILLRACE_PERMISSION", `${details.uri}: the proxy wants credentials: http://user:password@host:port`, details);
  if (refused !== undefined)
    return new MillraceError("MILLRACE_UNAVAILABLE", `${details.uri}: the proxy refuses to connect (HTTP ${refused})`, details);
  if (code !== undefined && TLS_TRUST.test(code))
    return new MillraceError(
      "MILLRACE_CONFIG",
      `${details.uri}: TLS failed (${code}); check the endpoint, or trust its certificate with NODE_EXTRA_CA_CERTS`,
      details,
    );
  // A DNS or connect error of several addresses has an empty message; its code says it all.
  return new MillraceError("MILLRACE_UNAVAILABLE", `${details.uri}: ${message || code || "the connection failed"}`, details);
}

/** Answers of a server that has too much to do. Others of its errors say nothing of that. */
const SLOW_DOWN: ReadonlySet<number> = new Set([429, 503]);

/** The error for an HTTP status, where no store knows better. `said` is the server's own word for it. */
export function statusError(refusal: Refusal, subject: Subject, said = ""): MillraceError {
  const { status } = refusal;
  const uri = redactUri(subject.uri);
  const word = said === "" ? `HTTP ${status}` : `HTTP ${status} ${said}`;
  const details = { uri, range: subject.range };
  if (status === 401 || status === 403) return new MillraceError("MILLRACE_PERMISSION", `${uri}: access denied (${word})`, details);
  if (status === 404 || status === 410) return new MillraceError("MILLRACE_NOT_FOUND", `${uri}: no such object (${word})`, details);
  if (status === 412 || status === 416)
    return new MillraceError("MILLRACE_CHANGED", `${uri}: the object has changed since it was listed (${word}); open it again`, details);
  if (status === 408 || status === 429 || status >= 500) {
    const asked = parseRetryAfter(header(refusal.headers, "retry-after"));
    const retryAfterMs = asked ?? (SLOW_DOWN.has(status) ? 0 : undefined);
    return new MillraceError("MILLRACE_UNAVAILABLE", `${uri}: the server is unavailable (${word})`, { ...details, retryAfterMs });
  }
  return new MillraceError("MILLRACE_CONFIG", `${uri}: the server refuses the request (${word}); check the URI and the endpoint`, details);
}
