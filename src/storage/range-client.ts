import { type MillraceError, throwIfAborted } from "../errors.js";
import { DEFAULT_TIMEOUTS, type HttpTimeouts } from "./http-timeouts.js";
import type { Outcome } from "./range-answer.js";
import { type ConnectionContext, RangeConnection } from "./range-connection.js";
import { type ClientTls, type Endpoint, endpointOf } from "./range-endpoint.js";
import type { RangeSink } from "./range-sink.js";

/** Holds a response's head and what comes with it: 110 KB at 59 CPU µs, where 16 KiB, more reads, take 98; 8 MiB alike. */
const SCRATCH_BYTES = 64 * 1024;
/** Kept for each origin; what is opened beyond is the limiter's to bound, and closes after its request. */
const MAX_IDLE = 256;

/** The connections to one origin. */
interface Pool {
  readonly endpoint: Endpoint;
  /** What a Host header says. */
  readonly host: string;
  /** The one used last is at the end, and is used next: the others may grow old and end. */
  readonly idle: RangeConnection[];
}

/**
 * A small HTTP/1.1 client for ranged GETs that reads from the socket into the targets. It takes answers whose length is stated, and errors of
 * any framing; for the rest there is undici. Redirects and errors are the caller's. Each connection resolves its host's name anew.
 */
export class RangeClient {
  readonly #pools = new Map<string, Pool>();
  readonly #connections = new Set<RangeConnection>();
  readonly #timeouts: ConnectionContext["timeouts"];
  readonly #tls: ClientTls | undefined;
  readonly #scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #closed = false;

  /** `tls`: default Node's. */
  constructor({ connectMs, headMs, stallMs, idleMs }: HttpTimeouts = {}, tls?: ClientTls) {
    this.#tls = tls;
    this.#timeouts = {
      connectMs: connectMs ?? DEFAULT_TIMEOUTS.connectMs,
      headMs: headMs ?? DEFAULT_TIMEOUTS.headMs,
      stallMs: stallMs ?? DEFAULT_TIMEOUTS.stallMs,
      idleMs: idleMs ?? DEFAULT_TIMEOUTS.idleMs,
    };
  }

  /**
   * Sends the request of `sink` and lets it take what comes. "unexpected": the server's answer is none of this client's, and nothing of it was
   * used. Once it has settled, nothing more is written. Throws MILLRACE_CHANGED, _CONFIG, _TIMEOUT, _UNAVAILABLE, _ABORTED, _CLOSED.
   */
  async get(sink: RangeSink, signal: AbortSignal | undefined): Promise<Exclude<Outcome, "stale">> {
    const pool = this.#pool(sink.request.origin);
    const request = requestText(pool.host, sink);
    const used = pool.idle.pop();
    for (let connection = used?.usable ? used : this.#open(pool, sink); ; connection = this.#open(pool, sink)) {
      const outcome = await connection.run(request, sink, signal);
      // A new connection never is.
      if (outcome !== "stale") return outcome;
      throwIfAborted(signal, "The read");
    }
  }

  /** Requests under way fail with MILLRACE_CLOSED, later ones too. Resolves when every socket is closed. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#connections];
    for (const connection of open) connection.destroy(closedError);
    await Promise.all(open.map(({ closed }) => closed));
  }

  #pool(origin: string): Pool {
    let pool = this.#pools.get(origin);
    if (pool === undefined) {
      const url = new URL(origin);
      pool = { endpoint: endpointOf(url, this.#tls), host: url.host, idle: [] };
      this.#pools.set(origin, pool);
    }
    return pool;
  }

  #open({ endpoint, idle }: Pool, sink: RangeSink): RangeConnection {
    if (this.#closed) throw closedError(sink);
    const onIdle = (connection: RangeConnection): void => {
      if (idle.length < MAX_IDLE) idle.push(connection);
      else connection.destroy(closedError);
    };
    const connection = new RangeConnection(endpoint, { timeouts: this.#timeouts, scratch: this.#scratch, onIdle });
    this.#connections.add(connection);
    void connection.closed.then(() => {
      this.#connections.delete(connection);
      const at = idle.indexOf(connection);
      if (at >= 0) idle.splice(at, 1);
    });
    return connection;
  }
}

function closedError(sink: RangeSink): MillraceError {
  return sink.error("MILLRACE_CLOSED", "the store was closed");
}

/** Throws MILLRACE_CONFIG where a line break or another control character would end a line early. */
function requestText(host: string, sink: RangeSink): string {
  const { path, headers } = sink.request;
  let text = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  if (!/^[\x21-\x7e]+$/.test(path))
    throw sink.error("MILLRACE_CONFIG", "the path holds characters that a request cannot; percent-encode it");
  for (const name in headers) {
    const value = headers[name]!;
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      throw sink.error("MILLRACE_CONFIG", `the header ${name} holds characters that a request cannot`);
    text += `${name}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}
