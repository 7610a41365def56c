import { Resolver } from "node:dns/promises";
import pLimit from "p-limit";
import { MillraceError } from "../../errors.js";
import { type Address, formatAddress, normalHost } from "./address.js";
import type { DnsSpec } from "./discover-spec.js";
import type { Engine, Finding } from "./engine.js";

/** Milliseconds for one try, which doubles with the next; both lie within the limit of a look. */
const TRY_MS = 1_500;
const TRIES = 2;
/** Queries under way: a resolver of a cluster drops what comes by the thousand. */
const CONCURRENT = 32;
/** Milliseconds between looks, whatever the records say: a TTL of 0 must not flood the resolver, one of an hour not hide a node for so long. */
const MIN_AGAIN_MS = 5_000;
const MAX_AGAIN_MS = 60_000;

interface Found {
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

/** Peers behind a DNS name. Only the resolver is asked: search domains and /etc/hosts do not count. */
export class DnsEngine implements Engine {
  readonly name: string;
  readonly #spec: DnsSpec;

  constructor(spec: DnsSpec) {
    this.#spec = spec;
    this.name = spec.type === "srv" ? `dns://${spec.name}?type=srv` : `dns://${spec.name}:${spec.port}`;
  }

  async find(signal: AbortSignal): Promise<Finding> {
    // A new one each time: it reads /etc/resolv.conf anew, and none remembers answers.
    const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });
    if (this.#spec.servers.length > 0) resolver.setServers(this.#spec.servers);
    signal.addEventListener("abort", () => resolver.cancel(), { once: true });
    return this.#spec.type === "srv" ? this.#bySrv(resolver) : this.#byName(resolver);
  }

  async #byName(resolver: Resolver): Promise<Finding> {
    const { name, port } = this.#spec;
    const { addresses, ttlSeconds } = await this.#addresses(resolver, name);
    return { peers: addresses.map((host) => ({ host, port })), againMs: againMs(ttlSeconds) };
  }

  /** Priorities and weights are for who picks one of several servers; a peer's weight is part of its identity. */
  async #bySrv(resolver: Resolver): Promise<Finding> {
    const answer = (await this.#ask(this.#spec.name, () => resolver.resolveSrv(this.#spec.name))) ?? [];
    // RFC 2782: a target of "." says that there is no such service here.
    const records = answer.filter(({ name, port }) => name !== "" && name !== "." && port > 0);
    const limit = pLimit(CONCURRENT);
    const targets = await Promise.all(records.map(({ name, port }) => limit(() => this.#target(resolver, name, port))));
    const ttls = targets.map((target) => target.ttlSeconds);
    return {
      peers: targets.flatMap(({ address }) => address ?? []),
      // Node tells no TTL of SRV records: those of their targets come from the same zone.
      againMs: againMs(Math.min(...ttls)),
      ignored: targets.flatMap(({ ignored }) => ignored ?? []),
    };
  }

  /** The first address of a target: it is one peer, however many it has. A target that does not exist is left out; silence fails the look. */
  async #target(resolver: Resolver, name: string, port: number): Promise<{ address?: Address; ttlSeconds: number; ignored?: string }> {
    try {
      const { addresses, ttlSeconds } = await this.#addresses(resolver, name);
      const host = [...addresses].sort()[0];
      if (host !== undefined) return { address: { host, port }, ttlSeconds };
      return { ttlSeconds, ignored: `${this.name}: ${formatAddress({ host: name, port })} has no address` };
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== "MILLRACE_NOT_FOUND") throw error;
      return { ttlSeconds: 0, ignored: error.message };
    }
  }

  /** A machine with both kinds would be two peers: IPv6 counts where there is no IPv4. */
  async #addresses(resolver: Resolver, name: string): Promise<Found> {
    const records =
      (await this.#ask(name, () => resolver.resolve4(name, { ttl: true }))) ??
      (await this.#ask(name, () => resolver.resolve6(name, { ttl: true }))) ??
      [];
    return { addresses: records.map(({ address }) => normalHost(address)), ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)) };
  }

  /** The records; undefined where the name has none of this type, which is an answer. A name that does not exist is a failure. */
  async #ask<T>(name: string, ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENODATA") return undefined;
      const details = { cause: error };
      if (code === "ENOTFOUND")
        throw new MillraceError(
          "MILLRACE_NOT_FOUND",
          `${this.name}: the resolver knows no ${name}; write names in full, search domains do not count`,
          details,
        );
      throw new MillraceError("MILLRACE_UNAVAILABLE", `${this.name}: the resolver does not answer for ${name} (${code})`, details);
    }
  }
}

/** Infinite where there was no record: then the shortest, since its absence has no TTL that Node tells. */
function againMs(ttlSeconds: number): number {
  if (!Number.isFinite(ttlSeconds)) return MIN_AGAIN_MS;
  return Math.min(MAX_AGAIN_MS, Math.max(MIN_AGAIN_MS, ttlSeconds * 1000));
}
