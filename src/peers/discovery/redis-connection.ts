import { isMillraceError, MillraceError, throwIfAborted } from "../../errors.js";
import type { RedisSpec } from "./discover-spec.js";

type RedisPackage = typeof import("@redis/client");

/** The optional package, loaded with the first connection: it takes 120 ms and 20 MB. Throws MILLRACE_CONFIG where it is not installed. */
async function loadPackage(): Promise<RedisPackage> {
  try {
    return await import("@redis/client");
  } catch (cause) {
    throw new MillraceError("MILLRACE_CONFIG", 'peers.discover: redis:// needs the package "@redis/client": npm install @redis/client', {
      cause,
    });
  }
}

/** A client that never connects by itself: who asks also decides when to ask again. */
function newClient({ createClient }: RedisPackage, spec: RedisSpec, signal: AbortSignal) {
  const { host, port, username, password } = spec;
  const socket = { host, port, reconnectStrategy: false as const, signal };
  return createClient({
    socket: spec.tls ? { ...socket, tls: true } : { ...socket, tls: false },
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    database: spec.database,
    // Version 2 is understood by every Redis and Valkey; nothing here needs more.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: "disabled",
  });
}

/** One connection and the few commands that discovery needs. Every failure is final for it: open another. */
export class RedisConnection {
  readonly #client: ReturnType<typeof newClient>;
  readonly #ending: AbortController;
  readonly #spec: RedisSpec;

  private constructor(client: ReturnType<typeof newClient>, ending: AbortController, spec: RedisSpec) {
    this.#client = client;
    this.#ending = ending;
    this.#spec = spec;
  }

  /** Connects and logs in. Throws MILLRACE_CONFIG without the package, else MILLRACE_UNAVAILABLE. */
  static async open(spec: RedisSpec, signal: AbortSignal): Promise<RedisConnection> {
    const redis = await loadPackage();
    throwIfAborted(signal);
    const ending = new AbortController();
    // The client forgets a socket that is still connecting when it is destroyed; the signal does not.
    const client = newClient(redis, spec, ending.signal);
    const connection = new RedisConnection(client, ending, spec);
    // The call that fails says so too; without a listener the event would end the process.
    client.on("error", () => {});
    signal.addEventListener("abort", () => connection.destroy(), { once: true });
    try {
      await client.connect();
      return connection;
    } catch (error) {
      connection.destroy();
      throw redisError(spec, error);
    }
  }

  /** Writes the record of `id`, for `ttlMs` milliseconds; resolves to the one before, null where there was none. */
  announce(id: string, record: string, ttlMs: number): Promise<string | null> {
    const key = this.#keyOf(id);
    return this.#orError(async () => {
      // Sent together, in this order.
      const before = this.#client.get(key);
      const written = this.#client.set(key, record, { expiration: { type: "PX", value: ttlMs } });
      await Promise.all([before, written, this.#client.sAdd(this.#keyOfIds, id)]);
      return before;
    });
  }

  withdraw(id: string): Promise<void> {
    return this.#orError(async () => {
      await Promise.all([this.#client.del(this.#keyOf(id)), this.#client.sRem(this.#keyOfIds, id)]);
    });
  }

  /** All ids ever announced, with their records; null where a record has run out. */
  records(): Promise<ReadonlyMap<string, string | null>> {
    return this.#orError(async () => {
      const ids = await this.#client.sMembers(this.#keyOfIds);
      const records = ids.length === 0 ? [] : await this.#client.mGet(ids.map((id) => this.#keyOf(id)));
      return new Map(ids.map((id, i) => [id, records[i] ?? null]));
    });
  }

  /** Forgets ids whose records have run out. One that comes back at this moment is missing until its next heartbeat. */
  forget(ids: string[]): Promise<void> {
    return this.#orError(async () => {
      await this.#client.sRem(this.#keyOfIds, ids);
    });
  }

  /** Whether the socket keeps the process alive. */
  hold(holds: boolean): void {
    if (holds) this.#client.ref();
    else this.#client.unref();
  }

  /** Idempotent. What is under way fails. */
  destroy(): void {
    this.#client.destroy();
    this.#ending.abort();
  }

  get #keyOfIds(): string {
    return `${this.#spec.prefix}:peers`;
  }

  #keyOf(id: string): string {
    return `${this.#spec.prefix}:peer:${id}`;
  }

  async #orError<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisError(this.#spec, error);
    }
  }
}

/** `redis://host:port/0`: all that may stand in a message. */
export function redisName({ tls, host, port, database }: RedisSpec): string {
  return `${tls ? "rediss" : "redis"}://${host.includes(":") ? `[${host}]` : host}:${port}/${database}`;
}

function redisError(spec: RedisSpec, cause: unknown): MillraceError {
  if (isMillraceError(cause)) return cause;
  const { message, code } = cause as NodeJS.ErrnoException;
  return new MillraceError("MILLRACE_UNAVAILABLE", `${redisName(spec)}: ${message || code || "the connection failed"}`, { cause });
}
