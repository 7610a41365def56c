/**
 * From addresses that discovery finds to members that own: each is asked who it is, and belongs to the list while it answers with the id that
 * was announced and with our terms. One that cannot be reached leaves the list after a while, so that others own, and hold, what it owned; it is
 * asked again until it is back or discovery has dropped it. Where another answers in its place, it leaves the list at once, and that one joins: a
 * node that keeps no id has a new one after each restart.
 */
import pLimit from "p-limit";
import type { CacheLog } from "../cache/disk-tier.js";
import { type Clock, idleClock } from "../util/clock.js";
import { formatAddress } from "./discovery/address.js";
import type { Discovery } from "./discovery/discovery.js";
import type { FoundPeer } from "./discovery/found-peer.js";
import type { Member } from "./member.js";
import { differingTerm, type PeerIdentity } from "./peer-protocol.js";

/** How often those who are no members are asked again, and members looked at. */
const CHECK_EVERY_MS = 1_000;
/** A peer that answers nobody's questions for so long owns nothing any more: a restart in place takes less. */
const LOST_AFTER_MS = 10_000;
/** Handshakes at once. */
const AT_ONCE = 16;

export interface MembershipParts {
  readonly self: Member & PeerIdentity;
  readonly discovery: Pick<Discovery, "members" | "onChange">;
  readonly scheme: "http" | "https";
  /** The handshake. */
  readonly identify: (url: string, signal: AbortSignal) => Promise<PeerIdentity>;
  /** Since when the peer is left alone because it cannot be reached, by `clock`; undefined while it can. */
  readonly unreachableSince: (id: string) => number | undefined;
  /** Whether who answers at the peer's address is no longer the member that was found there. */
  readonly mistaken: (id: string) => boolean;
  /** Called with all members, this one included, after each change. */
  readonly changed: (members: readonly Member[]) => void;
  readonly log?: CacheLog | undefined;
  readonly clock?: Clock | undefined;
}

/** A peer that discovery knows and that is no member, and why. */
export interface Stranger {
  readonly url: string;
  readonly id: string | undefined;
  readonly reason: string;
}

/** An address, and who was found there. */
interface Contact {
  readonly found: FoundPeer;
  readonly url: string;
  member: Member | undefined;
  /** This node answers there. */
  own: boolean;
  /** Why it is none. */
  reason: string;
}

export class Membership {
  /** Settles when each of those known at first has answered or failed once. */
  readonly ready: Promise<void>;
  readonly #parts: MembershipParts;
  readonly #clock: Clock;
  readonly #contacts = new Map<string, Contact>();
  readonly #closing = new AbortController();
  readonly #limit = pLimit(AT_ONCE);
  readonly #unlisten: () => void;
  readonly #loop: Promise<void>;
  #announced = "";

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? idleClock;
    this.#unlisten = parts.discovery.onChange(() => void this.#follow());
    this.ready = this.#follow();
    this.#loop = this.#watch();
  }

  /** Peers that are found but do not belong, by URL. */
  strangers(): readonly Stranger[] {
    return Array.from(this.#contacts.values())
      .filter(({ member, own }) => member === undefined && !own)
      .map(({ url, found, reason }) => ({ url, id: found.id, reason }));
  }

  /** Ends handshakes and timers; the members stay as they were. Idempotent. */
  async close(): Promise<void> {
    this.#unlisten();
    this.#closing.abort();
    await this.#loop;
  }

  /** Takes in what discovery knows now. */
  async #follow(): Promise<void> {
    const found = new Map(this.#parts.discovery.members().map((peer) => [this.#url(peer), peer]));
    for (const url of [...this.#contacts.keys()]) if (!found.has(url)) this.#contacts.delete(url);
    const fresh: Contact[] = [];
    for (const [url, peer] of found) {
      // The same address with another id is another peer.
      if (this.#contacts.has(url) && this.#contacts.get(url)!.found.id === peer.id) continue;
      const contact = { found: peer, url, member: undefined, own: false, reason: "not asked yet" };
      this.#contacts.set(url, contact);
      fresh.push(contact);
    }
    await this.#ask(fresh);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      try {
        await this.#clock.sleep(CHECK_EVERY_MS, signal);
      } catch {
        return;
      }
      for (const contact of this.#contacts.values()) this.#drop(contact);
      await this.#ask([...this.#contacts.values()].filter(({ member, own }) => member === undefined && !own));
    }
  }

  #drop(contact: Contact): void {
    if (contact.member === undefined) return;
    if (this.#parts.mistaken(contact.member.id)) {
      contact.member = undefined;
      return;
    }
    const since = this.#parts.unreachableSince(contact.member.id);
    if (since === undefined || this.#clock.now() - since < LOST_AFTER_MS) return;
    contact.member = undefined;
    contact.reason = `it could not be reached for ${LOST_AFTER_MS / 1000} s`;
    this.#say(contact);
  }

  async #ask(contacts: readonly Contact[]): Promise<void> {
    await Promise.all(contacts.map((contact) => this.#limit(() => this.#identify(contact))));
    if (!this.#closing.signal.aborted) this.#publish();
  }

  async #identify(contact: Contact): Promise<void> {
    const { self, identify } = this.#parts;
    const before = contact.reason;
    try {
      const identity = await identify(contact.url, this.#closing.signal);
      const { id, weight, labels } = identity;
      const differs = differingTerm(self, identity);
      contact.own = id === self.id;
      if (contact.own) contact.reason = "it is this node";
      else if (contact.found.id !== undefined && contact.found.id !== id) contact.reason = `another answers in its place (${id})`;
      else if (differs !== undefined) contact.reason = `it differs in ${differs}`;
      else contact.member = { id, weight, labels, url: contact.url };
    } catch (error) {
      contact.reason = (error as Error).message;
    }
    if (contact.member === undefined && contact.reason !== before && !this.#closing.signal.aborted) this.#say(contact);
  }

  #say({ url, own, reason }: Contact): void {
    this.#parts.log?.(own ? "debug" : "warn", { url, reason }, "A peer that was found is not asked for blocks");
  }

  #publish(): void {
    const { self, changed } = this.#parts;
    const { id, weight, labels, url } = self;
    const members = new Map<string, Member>([[id, { id, weight, labels, url }]]);
    for (const { member } of this.#contacts.values()) if (member !== undefined && !members.has(member.id)) members.set(member.id, member);
    const list = [...members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const announced = JSON.stringify(list);
    if (announced === this.#announced) return;
    this.#announced = announced;
    changed(list);
  }

  #url(peer: FoundPeer): string {
    return `${this.#parts.scheme}://${formatAddress(peer)}`;
  }
}
