/** Longest waits of one request, milliseconds. */
export interface HttpTimeouts {
  /** Until a connection stands, TLS included. Default 10 s. */
  readonly connectMs?: number | undefined;
  /** From the request sent to the whole response head. Default 30 s: S3's slowest healthy first bytes are a few seconds. */
  readonly headMs?: number | undefined;
  /** Between two pieces of the body. Default 20 s. */
  readonly stallMs?: number | undefined;
  /** How long the range client keeps a connection for the next request. Default 4 s: less than any usual server's patience (Node 5 s, S3 some 10). */
  readonly idleMs?: number | undefined;
}

/** A connection takes no new request after that time, milliseconds: under steady load it would never see that its host's name has moved. */
export const CONNECTION_LIFE_MS = 300_000;

export const DEFAULT_TIMEOUTS = { connectMs: 10_000, headMs: 30_000, stallMs: 20_000, idleMs: 4_000 } as const;
