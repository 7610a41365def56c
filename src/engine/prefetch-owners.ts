/** A prefetch where nodes share one cache: whose each part is, and how its owner is asked to load it. */
import pLimit, { type LimitFunction } from "p-limit";
import type { ObjectVersion } from "../blocks/object-version.js";
import { MillraceError } from "../errors.js";
import { GROUP_BYTES } from "../peers/group.js";
import type { Held } from "../peers/held-protocol.js";
import type { Member } from "../peers/member.js";
import { PeerFault } from "../peers/peer-answers.js";
import type { ByteRange } from "../readahead/plan.js";
import { type Clock, systemClock } from "../util/clock.js";
import type { PeerNode } from "./peer-node.js";

/** Parts asked of one owner at once: half of what a peer may be asked for, so that loops' reads find room. */
const AT_ONCE = 4;
/** An owner that is busy is asked so often, with these pauses, milliseconds. */
const BUSY_TRIES = 6;
const BUSY_PAUSE_MS = 1_000;

/** Bytes of one group that another node owns. */
export interface AwayPart extends ByteRange {
  readonly owner: Member;
}

/** The ranges, cut at groups, by who holds them. */
export function byOwner(
  object: ObjectVersion,
  ranges: readonly ByteRange[],
  peers: Pick<PeerNode, "ownerOf"> | undefined,
): { readonly own: readonly ByteRange[]; readonly away: readonly AwayPart[] } {
  if (peers === undefined) return { own: ranges, away: [] };
  const own: ByteRange[] = [];
  const away: AwayPart[] = [];
  // An empty object is one empty range.
  for (const { begin, end } of ranges)
    for (let at = begin, next = 0; at < end || at === begin; at = next) {
      next = Math.max(at + 1, Math.min(end, (Math.floor(at / GROUP_BYTES) + 1) * GROUP_BYTES));
      const part = { begin: at, end: Math.min(next, end) };
      const owner = peers.ownerOf(object, at);
      if (owner === undefined) own.push(part);
      else away.push({ ...part, owner });
    }
  return { own, away };
}

/** Has owners load what is theirs. */
export class OwnersLoad {
  readonly #peers: Pick<PeerNode, "hold">;
  readonly #priority: number;
  readonly #clock: Clock;
  readonly #limits = new Map<string, LimitFunction>();

  constructor(peers: Pick<PeerNode, "hold">, priority: number, clock: Clock = systemClock) {
    this.#peers = peers;
    this.#priority = priority;
    this.#clock = clock;
  }

  /** Runs `work` in the owner's turn. */
  inTurn({ owner }: AwayPart, work: () => Promise<void>): Promise<void> {
    let limit = this.#limits.get(owner.id);
    if (limit === undefined) {
      limit = pLimit(AT_ONCE);
      this.#limits.set(owner.id, limit);
    }
    return limit(work);
  }

  /** Throws MILLRACE_UNAVAILABLE where the owner did not do it, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  async load(object: ObjectVersion, { owner, begin, end }: AwayPart, signal: AbortSignal): Promise<Held> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#peers.hold(owner, object, { begin, end, priority: this.#priority, signal });
      } catch (error) {
        if (!(error instanceof PeerFault)) throw error;
        if (error.reason !== "busy" || tries === BUSY_TRIES) throw notLoaded(object, owner, error);
        await this.#clock.sleep(BUSY_PAUSE_MS, signal);
      }
    }
  }
}

function notLoaded({ uri }: ObjectVersion, { id, url }: Member, cause: PeerFault): MillraceError {
  return new MillraceError("MILLRACE_UNAVAILABLE", `the node ${id} (${url}) did not load what it owns of it: ${cause.message}`, {
    uri,
    cause,
  });
}
