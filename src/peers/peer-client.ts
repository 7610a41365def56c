/**
 * The tier between the disks and the origin: asks the owner of a block's group, then the next in order, and answers "not here" otherwise.
 * What comes is streamed, from the socket into slots: only owners keep copies.
 */
import { crc32c } from "@node-rs/crc32";
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab, SlotLease } from "../blocks/slab.js";
import { leaseSpan, releaseAll } from "../blocks/span-slots.js";
import type { CacheLog } from "../cache/disk-tier.js";
import type { SlotSource } from "../cache/slot-source.js";
import { priorityValue } from "../storage/priority.js";
import { type AlarmClock, systemAlarmClock } from "../util/alarm-clock.js";
import type { PeerAuthOptions } from "./auth.js";
import { GROUP_BYTES, groupOf } from "./group.js";
import { HELD_PATH, type Held, holdPath } from "./held-protocol.js";
import type { PeerTls } from "./listen.js";
import type { Member } from "./member.js";
import { PeerFault } from "./peer-answers.js";
import { type BlockCall, PeerCaller } from "./peer-call.js";
import { PeerClientCounters } from "./peer-counters.js";
import { silenceMs } from "./peer-health.js";
import { PeerLink, type PeerState } from "./peer-link.js";
import { blocksPath, HEADER, objectHeaders, type PeerIdentity } from "./peer-protocol.js";

export interface PeerClientOptions {
  readonly self: PeerIdentity;
  /** The members in order of preference, the owner first: `group` counts from the object's start. Cheap: asked several times a block. */
  readonly owners: { ranked(objectId: string, group: number, size: number): readonly Member[] };
  readonly slab: Slab;
  /** What the origin takes for a span, milliseconds; undefined while it is not known. */
  readonly originCostMs: () => number | undefined;
  /** How long a silent peer is waited for. Default: what the origin takes, within bounds. */
  readonly timeoutMs?: number | undefined;
  readonly auth?: PeerAuthOptions | undefined;
  readonly tls?: PeerTls | undefined;
  readonly log?: CacheLog | undefined;
  readonly clock?: AlarmClock | undefined;
  /** Uniform in [0, 1). */
  readonly random?: (() => number) | undefined;
}

export interface PeerClientStats {
  readonly counters: PeerClientCounters;
  /** Every peer that was asked or found wanting, by id. */
  readonly peers: readonly PeerState[];
}

export class PeerClient implements SlotSource {
  readonly tier = "peer" as const;
  readonly groupBytes: number = GROUP_BYTES;
  readonly counters: PeerClientCounters = new PeerClientCounters();
  readonly #options: PeerClientOptions;
  readonly #caller: PeerCaller;
  readonly #links = new Map<string, PeerLink>();
  #processes = 1;

  constructor(options: PeerClientOptions) {
    this.#options = options;
    const { self, auth, tls, timeoutMs: stallMs = silenceMs(undefined), clock = systemAlarmClock } = options;
    this.#caller = new PeerCaller({ self, auth, tls, stallMs, clock, counters: this.counters });
  }

  elsewhere(object: ObjectVersion, begin: number): boolean {
    const owner = this.#ranked(object, begin)[0];
    return owner !== undefined && owner.id !== this.#options.self.id;
  }

  standsIn(object: ObjectVersion, begin: number): boolean {
    return this.#ranked(object, begin).some(({ id }) => id === this.#options.self.id);
  }

  /** All of the blocks, or none. Throws MILLRACE_ABORTED, MILLRACE_CLOSED, MILLRACE_NO_SPACE; whatever peers do is counted and passed over. */
  async read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly (SlotLease | undefined)[]> {
    // As `elsewhere` has it: a block may be longer than a group.
    const ranked = this.#ranked(object, firstBlock * this.#options.self.blockSize);
    for (const [rank, member] of ranked.entries()) {
      if (member.id === this.#options.self.id) break;
      const leases = await this.#ask(this.#link(member), object, { firstBlock, count, instead: rank > 0 }, demand);
      if (leases !== undefined) return leases;
    }
    return new Array<undefined>(count).fill(undefined);
  }

  /** Asks a member to fetch these bytes, of one group, where it does not hold them. Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  hold(member: Member, object: ObjectVersion, demand: Pick<Demand, "begin" | "end" | "priority" | "signal">): Promise<Held> {
    const { blockSize } = this.#options.self;
    const { begin, end, signal } = demand;
    const first = Math.floor(begin / blockSize);
    const path = holdPath(object.id, first, Math.ceil(end / blockSize) - 1);
    const range = `bytes=${begin - first * blockSize}-${end - first * blockSize - 1}`;
    const link = this.#link(member);
    const call = { path, headers: { ...aboutObject(object, demand.priority), range } };
    return link.run(object, demand, () => this.#caller.held(link.callee, member.id, call, this.#silenceMs(), signal));
  }

  /** How much a member holds of what lies below a URI. Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  async heldBelow(member: Member, uri: string, signal: AbortSignal | undefined): Promise<number> {
    const call = { path: HELD_PATH, headers: { [HEADER.uri]: encodeURIComponent(uri) } };
    return (await this.#caller.held(this.#link(member).callee, member.id, call, this.#silenceMs(), signal)).bytes;
  }

  /** Who answers at `url`. Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  identify(url: string, signal?: AbortSignal): Promise<PeerIdentity> {
    return this.#caller.identify({ url, skewMs: 0, signs: 0 }, this.#silenceMs(), signal);
  }

  /** So many processes of this node ask the same peers, by one name. */
  divide(processes: number): void {
    this.#processes = processes;
    for (const link of this.#links.values()) link.divide(processes);
  }

  /** Since when the peer is left alone because it cannot be reached, by the clock; undefined while it can. */
  unreachableSince(id: string): number | undefined {
    return this.#links.get(id)?.unreachableSince;
  }

  /** Whether who answers at the peer's address must be asked anew. */
  mistaken(id: string): boolean {
    return this.#links.get(id)?.mistaken === true;
  }

  /** Forgets what is known of all other peers. */
  retain(members: readonly Member[]): void {
    const ids = new Set(members.map(({ id }) => id));
    for (const id of [...this.#links.keys()]) if (!ids.has(id)) this.#links.delete(id);
  }

  stats(): PeerClientStats {
    const peers = Array.from(this.#links.values(), (link) => link.stats()).sort((a, b) => (a.id < b.id ? -1 : 1));
    return { counters: this.counters, peers };
  }

  /** Requests under way fail with MILLRACE_CLOSED. Resolves when every socket is closed. */
  close(): Promise<void> {
    return this.#caller.close();
  }

  #ranked(object: ObjectVersion, begin: number): readonly Member[] {
    // A presigned URL is a secret, and travels only where nobody can read it.
    if (this.#options.tls === undefined && /^https?:[^?]*\?/.test(object.uri)) return [];
    return this.#options.owners.ranked(object.id, groupOf(begin), object.size);
  }

  /** A member that has moved is a new peer: what its old address did says nothing of it. */
  #link(member: Member): PeerLink {
    const known = this.#links.get(member.id);
    if (known?.member.url === member.url) return known;
    const { self, log, clock = systemAlarmClock, random = Math.random } = this.#options;
    const link = new PeerLink(member, { self, log, clock, random, caller: this.#caller, silenceMs: () => this.#silenceMs() });
    link.divide(this.#processes);
    this.#links.set(member.id, link);
    return link;
  }

  #silenceMs(): number {
    return this.#options.timeoutMs ?? silenceMs(this.#options.originCostMs());
  }

  async #ask(link: PeerLink, object: ObjectVersion, asked: Asked, demand: Demand): Promise<SlotLease[] | undefined> {
    const { slab, self } = this.#options;
    let leases: readonly SlotLease[] = [];
    try {
      return await link.run(object, demand, async () => {
        const taken = leaseSpan(slab, self.blockSize, asked.firstBlock, asked.count, demand);
        leases = taken;
        const call = blockCall(object, self.blockSize, asked, taken, demand);
        this.counters.requests++;
        const checksums = await this.#caller.blocks(link.callee, link.member.id, call, this.#silenceMs(), demand.signal);
        this.#verify(taken, checksums);
        this.#served(taken, demand);
        return taken;
      });
    } catch (error) {
      // The call has settled: nothing writes the slots any more.
      releaseAll(leases);
      if (!(error instanceof PeerFault)) throw error;
      this.counters.fallbacks[error.reason]++;
      return undefined;
    }
  }

  /** None of an answer is used where some of it is wrong. */
  #verify(leases: readonly SlotLease[], checksums: readonly number[]): void {
    const wrong = leases.filter((lease, i) => crc32c(lease.bytes) !== checksums[i]).length;
    if (wrong === 0) return;
    this.counters.corruptBlocks += wrong;
    throw new PeerFault("corrupt", `${wrong} of ${leases.length} blocks have a wrong checksum`);
  }

  #served(leases: readonly SlotLease[], { begin, end, served }: Demand): void {
    this.counters.answered++;
    this.counters.blocks += leases.length;
    this.counters.bytes += end - begin;
    served?.("peer", end - begin, 1);
  }
}

/** Blocks of one group. */
interface Asked {
  readonly firstBlock: number;
  readonly count: number;
  /** Of who is next in order: the owner did not serve. */
  readonly instead: boolean;
}

function blockCall(
  object: ObjectVersion,
  blockSize: number,
  { firstBlock, instead }: Asked,
  leases: readonly SlotLease[],
  { begin, end, priority, wide }: Demand,
): BlockCall {
  return {
    path: blocksPath(object.id, firstBlock, firstBlock + leases.length - 1),
    begin,
    end,
    base: firstBlock * blockSize,
    headers: { ...aboutObject(object, priority), ...(wide && { [HEADER.wide]: "1" }), ...(instead && { [HEADER.instead]: "1" }) },
    targets: leases.map((lease) => lease.bytes),
  };
}

function aboutObject(object: ObjectVersion, priority: Demand["priority"]): Record<string, string> {
  return {
    ...objectHeaders({ uri: object.uri, size: object.size, etag: object.stored.etag }),
    [HEADER.priority]: String(Math.max(0, Math.min(99, Math.floor(priorityValue(priority))))),
  };
}
