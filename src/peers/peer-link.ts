import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { CacheLog } from "../cache/disk-tier.js";
import { Limiter } from "../storage/limit.js";
import type { Clock } from "../util/clock.js";
import type { Member } from "./member.js";
import { PeerFault } from "./peer-answers.js";
import type { Callee, PeerCaller } from "./peer-call.js";
import type { FallbackReason } from "./peer-counters.js";
import { type CircuitState, FAILURES, PeerHealth } from "./peer-health.js";
import { differingTerm, type PeerIdentity } from "./peer-protocol.js";

/** Requests of a node to one peer at once: of 8 MiB each they fill any line, and are as many as a frozen peer can keep waiting. */
const AT_ONCE = 8;
/**
 * To a peer that has not answered yet; with each answer one more. Each needs a connection of its own, and a peer takes one a turn of its loop: where
 * all begin at once, the last of 8 from each of 1,000 nodes would wait for 8,000 turns. Beside the place kept for demand as many as failures open the
 * circuit, so that a silent peer costs one deadline.
 */
const FIRST_AT_ONCE = FAILURES + 1;
/**
 * A peer that does not serve a store is not asked for its objects for that long, milliseconds: a mount comes with a restart, but a root that is
 * opened by its URI may be opened there a moment later than here.
 */
const NOT_ITS_OWN_MS = 1_000;

export interface PeerState {
  readonly id: string;
  readonly url: string;
  readonly state: CircuitState;
  /** Why the circuit is not closed. */
  readonly reason: FallbackReason | undefined;
  /** The option in which it differs, with both values. */
  readonly differs: string | undefined;
  readonly lastError: string | undefined;
  readonly inFlight: number;
  readonly queued: number;
}

export interface LinkContext {
  readonly self: PeerIdentity;
  readonly caller: PeerCaller;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: CacheLog | undefined;
  readonly silenceMs: () => number;
}

/** One peer as this node sees it: who it is, how it fares, and the requests that wait for it. */
export class PeerLink {
  readonly member: Member;
  readonly callee: Callee;
  readonly #context: LinkContext;
  readonly #health: PeerHealth;
  readonly #limiter: Limiter;
  /** Stores, and until when they are not asked for. */
  readonly #notItsOwn = new Map<string, number>();
  #atOnce = FIRST_AT_ONCE;
  #probing = false;
  #differs: string | undefined;
  #lastError: string | undefined;

  constructor(member: Member, context: LinkContext) {
    this.member = member;
    this.callee = { url: member.url, skewMs: 0, signs: 0 };
    this.#context = context;
    this.#health = new PeerHealth(context.clock, context.random);
    this.#limiter = new Limiter({ concurrency: FIRST_AT_ONCE, clock: context.clock });
  }

  /** Runs `work`, which asks the peer, in its turn. Throws PeerFault "open" where the peer is not to be asked, and what `work` throws. */
  async run<T>(object: ObjectVersion, { priority, begin, end, signal }: Demand, work: () => Promise<T>): Promise<T> {
    this.#check(object);
    return this.#limiter.run(undefined, { priority, bytes: end - begin, signal }, async () => {
      // It may have come to be known as broken meanwhile.
      this.#check(object);
      try {
        const result = await work();
        this.#health.answered();
        if (this.#atOnce < AT_ONCE) this.#limiter.allow(++this.#atOnce);
        return result;
      } catch (error) {
        if (error instanceof PeerFault) this.#failed(error, object);
        throw error;
      }
    });
  }

  /** Keeps to one part of the requests at once, which so many processes of this node share: the peer sees one asker. */
  divide(processes: number): void {
    this.#limiter.divide(processes);
  }

  /** Since when it is left alone because nothing comes of it; undefined where it answers, be it wrongly. */
  get unreachableSince(): number | undefined {
    const { reason, brokenSince } = this.#health;
    return reason === "unreachable" || reason === "slow" ? brokenSince : undefined;
  }

  /** It is not asked, whatever for. */
  get leftAlone(): boolean {
    return this.#health.state !== "closed";
  }

  /** Whoever answers at its address is not, or not any more, the member that was found there: another, or one with other options or another secret. */
  get mistaken(): boolean {
    const { reason } = this.#health;
    return this.leftAlone && (reason === "refused" || reason === "options");
  }

  stats(): PeerState {
    const { state, reason } = this.#health;
    const { id, url } = this.member;
    return {
      id,
      url,
      state,
      reason: state === "closed" ? undefined : reason,
      differs: this.#differs,
      lastError: this.#lastError,
      ...this.#limiter.stats(),
    };
  }

  #check(object: ObjectVersion): void {
    if (this.#health.takeProbe()) void this.#probe();
    if (this.#health.state !== "closed") throw new PeerFault("open", "its circuit is open");
    if ((this.#notItsOwn.get(object.store.uri) ?? Number.NEGATIVE_INFINITY) > this.#context.clock.now())
      throw new PeerFault("open", "it does not serve the object's store");
  }

  #failed(fault: PeerFault, object: ObjectVersion): void {
    // Busy, or without the bytes: it is sound.
    if (fault.reason === "busy" || fault.reason === "failed") return;
    if (fault.notItsOwn) this.#notItsOwn.set(object.store.uri, this.#context.clock.now() + NOT_ITS_OWN_MS);
    else this.#broken(fault);
    // What differs shows in the handshake.
    if (fault.reason === "options") void this.#probe();
  }

  #broken(fault: PeerFault): void {
    const before = this.#health.state;
    this.#lastError = fault.message;
    this.#health.failed(fault.reason);
    if (before !== "closed" || this.#health.state === "closed") return;
    const { id, url } = this.member;
    this.#context.log?.("warn", { peer: id, url, reason: fault.reason, error: fault.message }, "A peer is left alone for a while");
  }

  /** By handshake, beside all reads, so that none of them waits for a peer that may still be broken. */
  async #probe(): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    const { self, caller, silenceMs } = this.#context;
    try {
      const identity = await caller.identify(this.callee, silenceMs(), undefined);
      if (identity.id !== this.member.id) throw new PeerFault("refused", `another answers in its place (${identity.id})`);
      this.#differs = differingTerm(self, identity);
      if (this.#differs !== undefined) throw new PeerFault("options", `it differs in ${this.#differs}`);
      this.#health.probed();
      this.#lastError = undefined;
    } catch (error) {
      // The client is being closed.
      if (!(error instanceof PeerFault)) this.#health.probeAborted();
      else this.#broken(error);
    } finally {
      this.#probing = false;
    }
  }
}
