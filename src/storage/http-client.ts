import { Agent, type Dispatcher } from "undici";

/** Longest waits of one request, milliseconds. */
export interface HttpTimeouts {
  /** Until a connection stands, TLS included. Default 10 s. */
  readonly connectMs?: number | undefined;
  /** From the request sent to the whole response head. Default 30 s: S3's slowest healthy first bytes are a few seconds. */
  readonly headMs?: number | undefined;
  /** Between two pieces of the body. Default 20 s. */
  readonly stallMs?: number | undefined;
}

export const DEFAULT_TIMEOUTS = { connectMs: 10_000, headMs: 30_000, stallMs: 20_000 } as const;

/**
 * A connection pool for each origin. It opens as many connections as there are requests in flight: the limiter around the store bounds them,
 * and a queue in here would hide its priorities.
 */
export function httpAgent(timeouts: HttpTimeouts = {}): Dispatcher {
  return new Agent({
    connect: { timeout: timeouts.connectMs ?? DEFAULT_TIMEOUTS.connectMs },
    headersTimeout: timeouts.headMs ?? DEFAULT_TIMEOUTS.headMs,
    bodyTimeout: timeouts.stallMs ?? DEFAULT_TIMEOUTS.stallMs,
    pipelining: 1,
  });
}
