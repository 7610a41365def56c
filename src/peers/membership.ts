/**
 * From addresses that discovery finds to members that own: each is asked who it is, and belongs to the list while it answers with the id that
 * was announced and with our terms. One that cannot be reached leaves the list after a while, so that others own, and hold, what it owned; it is
 * asked again until it is back or discovery has dropped it. Where another answers in its place, it leaves the list at once, and that one joins: a
 * node that keeps no id has a new one after each restart.
 */
import { isDeepStrictEqual } from "node:util";
import pLimit from "p-limit";
import type { CacheLog } from "../cache/disk-tier.js";
import { type Clock, idleClock } from "../util/clock.js";
import {
  areTwo,
  type Barrier,
  barrierOf,
  type Contact,
  contradicts,
  isStranger,
  newContact,
  obstacleOf,
  type Stranger,
  twinBarrier,
} from "./contact.js";
import { formatAddress } from "./discovery/address.js";
import type { Discovery } from "./discovery/discovery.js";
import type { FoundPeer } from "./discovery/found-peer.js";
import { ListPublisher } from "./list-publisher.js";
import type { Member } from "./member.js";
import type { PeerIdentity } from "./peer-protocol.js";

/** How often those who are no members are asked again, and members looked at. */
const CHECK_EVERY_MS = 1_000;
/** A peer that answers nobody's questions for so long owns nothing any more: a restart in place takes less. */
const LOST_AFTER_MS = 10_000;
/** How often members are asked who they are: a restart may have changed weight or labels, or the id. About 16 a second where they are many. */
const ASK_MEMBERS_MS = 60_000;
const ASK_MEMBERS_MS_A_PEER = 60;
/** Handshakes at once, of strangers that did not answer before and of all others: 1,000 addresses where nobody answers take 24 s at most. */
const AT_ONCE = 64;

export interface MembershipParts {
  /** Its `instance` only where this process answers for the node. */
  readonly self: Member & PeerIdentity;
  /** Who belonged before, by an earlier membership: they stay until they have been asked. */
  readonly before?: readonly Member[] | undefined;
  readonly discovery: Pick<Discovery, "members" | "onChange">;
  readonly scheme: "http" | "https";
  /** The handshake. */
  readonly identify: (url: string, signal: AbortSignal) => Promise<PeerIdentity>;
  /** Since when the peer is left alone because it cannot be reached, by `clock`; undefined while it can. */
  readonly unreachableSince: (id: string) => number | undefined;
  /** Whether who answers at the peer's address is no longer the member that was found there. */
  readonly mistaken: (id: string) => boolean;
  /** A peer that is left alone because it could not be reached has answered. */
  readonly recovered: (id: string) => void;
  /** Called with all members, this one included, after each change. Where it throws, the list before is the one in use. */
  readonly changed: (members: readonly Member[]) => void;
  readonly log?: CacheLog | undefined;
  readonly clock?: Clock | undefined;
  /** Uniform in [0, 1). */
  readonly random?: (() => number) | undefined;
}

export class Membership {
  /** Settles when each of those known at first has answered or failed once. */
  readonly ready: Promise<void>;
  readonly #parts: MembershipParts;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #contacts = new Map<string, Contact>();
  readonly #closing = new AbortController();
  readonly #limit = pLimit(AT_ONCE);
  /** Theirs alone, so that those who do not answer keep nobody waiting. */
  readonly #strangersLimit = pLimit(AT_ONCE);
  readonly #unlisten: () => void;
  readonly #loop: Promise<void>;
  readonly #publisher: ListPublisher;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? idleClock;
    this.#random = parts.random ?? Math.random;
    const { changed, log } = parts;
    this.#publisher = new ListPublisher({ list: () => this.#members(), changed, log, clock: this.#clock, signal: this.#closing.signal });
    this.#unlisten = parts.discovery.onChange(() => void this.#follow(this.#members()));
    this.ready = this.#follow(parts.before ?? []);
    this.#loop = this.#watch();
  }

  /** Peers that are found but do not belong, by URL. */
  strangers(): readonly Stranger[] {
    return Array.from(this.#contacts.values())
      .filter(isStranger)
      .map(({ url, found, reason }) => ({ url, id: found.id, reason }));
  }

  /** Ends handshakes and timers; the members stay as they were. Idempotent. */
  async close(): Promise<void> {
    this.#unlisten();
    this.#closing.abort();
    await this.#loop;
  }

  /** Takes in what discovery knows now. Who belonged `before` and has only moved stays a member until it has been asked. */
  async #follow(before: readonly Member[]): Promise<void> {
    const known = new Map(before.flatMap((member) => [[member.id, member] as const, [member.url, member] as const]));
    const found = new Map(this.#parts.discovery.members().map((peer) => [this.#url(peer), peer]));
    const fresh: Contact[] = [];
    for (const [url, peer] of found) {
      const contact = this.#contacts.get(url);
      // The same address with another id is another peer.
      if (contact === undefined || contact.found.id !== peer.id) {
        fresh.push(newContact(peer, url, known.get(peer.id ?? url)));
        this.#contacts.set(url, fresh.at(-1)!);
      } else {
        // With a restart what it says of itself may have changed.
        if (!isDeepStrictEqual(contact.found, peer)) Object.assign(contact, { askAt: this.#clock.now(), contradicted: false });
        contact.found = peer;
      }
    }
    for (const url of [...this.#contacts.keys()])
      if (!found.has(url)) {
        this.#contacts.delete(url);
        this.#publisher.soon();
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
      // Not waited for: one turn's handshakes may take longer than a turn.
      void this.#ask([...this.#contacts.values()].filter((contact) => this.#isDue(contact)));
    }
  }

  #isDue(contact: Contact): boolean {
    const { askAt, asking, member, silentSince } = contact;
    if (asking) return false;
    if (isStranger(contact) || silentSince !== undefined || this.#clock.now() >= askAt) return true;
    return member !== undefined && (this.#parts.mistaken(member.id) || this.#lost(contact));
  }

  /** It has not been reached for so long that others are to own what it owned. */
  #lost({ member, silentSince = Number.POSITIVE_INFINITY }: Contact): boolean {
    const unreachableSince = this.#parts.unreachableSince(member!.id) ?? Number.POSITIVE_INFINITY;
    return this.#clock.now() - Math.min(silentSince, unreachableSince) >= LOST_AFTER_MS;
  }

  async #ask(contacts: readonly Contact[]): Promise<void> {
    const inTurn = contacts.map((contact) => {
      const limit = contact.obstacle === undefined ? this.#limit : this.#strangersLimit;
      const everyMs = Math.max(ASK_MEMBERS_MS, this.#contacts.size * ASK_MEMBERS_MS_A_PEER);
      contact.asking = true;
      // Spread out, since all may have been found at once.
      contact.askAt = this.#clock.now() + everyMs * (0.75 + this.#random() / 2);
      return limit(() => this.#identify(contact));
    });
    await Promise.all(inTurn);
    this.#publisher.now();
  }

  async #identify(contact: Contact): Promise<void> {
    const { signal } = this.#closing;
    // It has waited for its turn.
    if (signal.aborted) return;
    const before = contact.member;
    try {
      const identity = await this.#parts.identify(contact.url, signal);
      const rival = this.#rivalOf(contact, identity);
      // Without a rival it is taken in at once: another that answers by its id meanwhile would not see it.
      const barrier = barrierOf(this.#parts.self, contact, identity) ?? (rival && (await this.#rivalry(contact, rival, identity)));
      if (!signal.aborted) this.#answered(contact, identity, barrier);
    } catch (error) {
      if (!signal.aborted) this.#failed(contact, error as Error);
    }
    contact.asking = false;
    if (contact.member !== before) this.#publisher.soon();
  }

  #answered(contact: Contact, identity: PeerIdentity, barrier: Barrier | undefined): void {
    const { self, unreachableSince, recovered, log } = this.#parts;
    const { id, weight, labels, instance } = identity;
    Object.assign(contact, { silentSince: undefined, instance });
    if (barrier !== undefined) {
      this.#bar(contact, barrier);
      return;
    }
    contact.own = id === self.id;
    const member = contact.own ? undefined : { id, weight, labels, url: contact.url };
    if (!isDeepStrictEqual(member, contact.member)) contact.member = member;
    contact.obstacle = undefined;
    if (unreachableSince(id) !== undefined) recovered(id);
    if (contact.contradicted || !contradicts(contact.found, identity)) return;
    contact.contradicted = true;
    const message = "A list of peers gives one another weight or other labels than it says itself: its own word counts";
    log?.("info", { url: contact.url, id, weight, labels }, message);
  }

  #failed(contact: Contact, error: Error): void {
    const obstacle = obstacleOf(error);
    contact.silentSince ??= this.#clock.now();
    // Silence may pass.
    if (contact.own || (contact.member !== undefined && obstacle === "silent" && !this.#lost(contact))) return;
    this.#bar(contact, { obstacle, reason: error.message });
  }

  /** A member by the same id, of another process. */
  #rivalOf(contact: Contact, { id, instance }: PeerIdentity): Contact | undefined {
    return [...this.#contacts.values()].find((one) => one !== contact && one.member?.id === id && areTwo(one.instance, instance));
  }

  /** Keeps it out where its rival still answers. The process of a node that has moved does not: its old address is given up. */
  async #rivalry(contact: Contact, rival: Contact, { id, instance }: PeerIdentity): Promise<Barrier | undefined> {
    const now = await this.#parts.identify(rival.url, this.#closing.signal).catch(() => undefined);
    if (now?.id !== id) rival.member = undefined;
    else if (areTwo(now.instance, instance)) return twinBarrier(id, contact.url, rival.url);
    else rival.instance = now.instance;
    return undefined;
  }

  /** Keeps it out, and says so once until the obstacle is another. */
  #bar(contact: Contact, { obstacle, reason }: Barrier): void {
    const known = contact.obstacle === obstacle;
    Object.assign(contact, { member: undefined, own: false, obstacle, reason });
    if (!known) this.#parts.log?.("warn", { url: contact.url, reason }, "A peer that was found is not asked for blocks");
  }

  /** By id, this node included. */
  #members(): readonly Member[] {
    const { id, weight, labels, url } = this.#parts.self;
    const members = new Map<string, Member>([[id, { id, weight, labels, url }]]);
    for (const { member } of this.#contacts.values()) if (member !== undefined && !members.has(member.id)) members.set(member.id, member);
    return [...members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  #url(peer: FoundPeer): string {
    return `${this.#parts.scheme}://${formatAddress(peer)}`;
  }
}
