import type { Clock } from "../../util/clock.js";
import { twoNodes } from "../member.js";
import { addressOfUrl, formatAddress } from "./address.js";
import type { RedisSpec } from "./discover-spec.js";
import type { Engine, Finding } from "./engine.js";
import type { Announcement, FoundPeer } from "./found-peer.js";
import { formatAnnouncement, parseAnnouncement } from "./member-record.js";
import { RedisConnection, redisName } from "./redis-connection.js";

/** Milliseconds between heartbeats. */
export const BEAT_MS = 5_000;
/** Milliseconds that an announcement lives: two heartbeats may fail. A dead peer costs its askers only a deadline until then. */
export const TTL_MS = 15_000;
/** Milliseconds between two lists, for each peer in them: 4,096 peers that all read such lists at every heartbeat would take 1 GB/s from the server. */
const LIST_EVERY_MS_A_PEER = 20;
const MAX_LIST_EVERY_MS = 60_000;
/** Milliseconds for taking back the announcement; it runs out by itself. */
const WITHDRAW_LIMIT_MS = 1_000;

/** Peers that write themselves into a Redis or Valkey, again and again while they live. Not for Redis Cluster: one server holds all keys. */
export class RedisEngine implements Engine {
  readonly name: string;
  readonly #spec: RedisSpec;
  /** Undefined where this process only reads. */
  readonly #self: Announcement | undefined;
  readonly #clock: Clock;
  #connection: RedisConnection | undefined;
  #known: ReadonlyMap<string, FoundPeer> = new Map();
  #ignored: readonly string[] = [];
  /** Heartbeats in a row before which this node's record had been written by another. */
  #overwritten = 0;
  /** A line that says so. */
  #rival: readonly string[] = [];
  #listAt = Number.NEGATIVE_INFINITY;
  /** After a connection was lost: until then peers may be missing only because they have not found back to the server either. */
  #settledAt = Number.NEGATIVE_INFINITY;

  constructor(spec: RedisSpec, self: Announcement | undefined, clock: Clock) {
    this.#spec = spec;
    this.#self = self;
    this.#clock = clock;
    this.name = redisName(spec);
  }

  async find(signal: AbortSignal): Promise<Finding> {
    const connection = this.#connection ?? (await this.#connect(signal));
    const drop = () => this.#drop(connection);
    signal.addEventListener("abort", drop, { once: true });
    connection.hold(true);
    try {
      if (this.#self !== undefined) await this.#announce(connection, this.#self);
      if (this.#clock.now() >= this.#listAt) await this.#list(connection);
      connection.hold(false);
      return { peers: [...this.#known.values()], againMs: BEAT_MS, ignored: [...this.#ignored, ...this.#rival] };
    } catch (error) {
      drop();
      throw error;
    }
  }

  /** Takes back the announcement where the server answers at once. */
  async close(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) return;
    connection.hold(true);
    const limit = new AbortController();
    if (this.#self !== undefined)
      await Promise.race([connection.withdraw(this.#self.id), this.#clock.sleep(WITHDRAW_LIMIT_MS, limit.signal)]).catch(() => {});
    limit.abort();
    this.#drop(connection);
  }

  async #connect(signal: AbortSignal): Promise<RedisConnection> {
    const connection = await RedisConnection.open(this.#spec, signal);
    this.#connection = connection;
    this.#listAt = Number.NEGATIVE_INFINITY;
    if (this.#known.size > 0) this.#settledAt = this.#clock.now() + TTL_MS;
    return connection;
  }

  #drop(connection: RedisConnection): void {
    connection.destroy();
    if (this.#connection === connection) this.#connection = undefined;
  }

  /** Another node that has this one's id writes its record there again and again. Once alone it is what this node was before a restart. */
  async #announce(connection: RedisConnection, self: Announcement): Promise<void> {
    const before = await connection.announce(self.id, formatAnnouncement(self), TTL_MS);
    const peer = before === null ? undefined : parseAnnouncement(before);
    const there = typeof peer === "object" ? formatAddress(peer) : undefined;
    const isOther = there !== undefined && there !== formatAddress(addressOfUrl(self.url)!);
    this.#overwritten = isOther ? this.#overwritten + 1 : 0;
    this.#rival = this.#overwritten < 2 ? [] : [`${this.name}: ${twoNodes(self.id, self.url, there!)}`];
  }

  async #list(connection: RedisConnection): Promise<void> {
    const records = await connection.records();
    const peers = new Map<string, FoundPeer>();
    const [gone, ignored]: [string[], string[]] = [[], []];
    for (const [id, record] of records) {
      const peer = record === null ? undefined : parseAnnouncement(record);
      if (peer === undefined) gone.push(id);
      else if (typeof peer === "string") ignored.push(`${this.name}: the record of ${JSON.stringify(id)}: ${peer}`);
      else if (peer.id !== id) ignored.push(`${this.name}: the record of ${JSON.stringify(id)} names another id`);
      else peers.set(id, peer);
    }
    if (this.#self !== undefined && gone.length > 0) await connection.forget(gone);
    if (this.#clock.now() < this.#settledAt) for (const [id, peer] of this.#known) if (!peers.has(id)) peers.set(id, peer);
    this.#known = peers;
    this.#ignored = ignored;
    this.#listAt = this.#clock.now() + Math.min(MAX_LIST_EVERY_MS, LIST_EVERY_MS_A_PEER * peers.size);
  }
}
