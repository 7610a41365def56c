/** Who owns a group, and who is asked next: a pure function of the member list and the object version, so that nodes need not talk about it. */
import { LRUCache } from "lru-cache";
import { MillraceError } from "../errors.js";
import { groupCount } from "./group.js";
import { isWeight, type Member, WEIGHTS } from "./member.js";
import { nameWords, Strata } from "./strata.js";

/** Names what ownership depends on beside members and objects: nodes with another one disagree about nearly every group. */
export const HASHING = "strata-1";

/** Members ranked for a group: its owner, and who is asked in its stead. Each costs 2 bytes a group that is remembered. */
export const RANKS = 2;

/**
 * Longest stretch of neighbouring groups whose tickets are drawn together. Long ones even out more where members are many: over 64 members
 * counts have 0.53 of plain hashing's variance with stretches of 64, 0.51 with 128. A look-up of a new stretch draws for all of it.
 */
const STRETCH_GROUPS = 128;

/** Memory for rankings: of a million groups (9 TB) in shards of 256 MB. */
const CACHE_BYTES = 16 * 2 ** 20;
/** Of an entry beside its ranking: key, array, place in the cache. */
const ENTRY_BYTES = 300;

/** Members are remembered as 16-bit numbers. */
const MAX_MEMBERS = 2 ** 16;

/**
 * The owners of all groups under one list of members, which never changes: another list is another instance. Two lists rank the members that
 * they share alike. Throws MILLRACE_CONFIG where two members have one id, or a weight is none.
 */
export class Owners {
  /** By id; all of them, also those of weight 0. */
  readonly members: readonly Member[];
  /** By id; those that own. */
  readonly #owners: readonly Member[];
  readonly #ranks: number;
  readonly #strata: Strata;
  readonly #rankings = new LRUCache<string, Uint16Array>({
    maxSize: CACHE_BYTES,
    sizeCalculation: (ranking) => ranking.byteLength + ENTRY_BYTES,
  });

  constructor(members: readonly Member[]) {
    this.members = members.toSorted((one, other) => (one.id < other.id ? -1 : 1));
    checkMembers(this.members);
    this.#owners = this.members.filter(({ weight }) => weight > 0);
    this.#ranks = Math.min(RANKS, this.#owners.length);
    this.#strata = new Strata(this.#owners.map(({ id, weight }) => ({ name: nameWords(id), weight })));
  }

  /** The owner of a group of an object of `size` bytes; undefined where no member owns anything, or the object ends before. */
  owner(objectId: string, group: number, size: number): Member | undefined {
    const place = this.#place(objectId, group, size);
    return place === undefined ? undefined : this.#owners[place.ranking[place.first]!];
  }

  /** The owner of a group, then who is asked in its stead: `RANKS` members. Empty where `owner` is undefined. */
  ranked(objectId: string, group: number, size: number): readonly Member[] {
    const place = this.#place(objectId, group, size);
    if (place === undefined) return [];
    const { ranking, first } = place;
    return Array.from({ length: this.#ranks }, (_, rank) => this.#owners[ranking[first + rank]!]!);
  }

  #place(objectId: string, group: number, size: number): { ranking: Uint16Array; first: number } | undefined {
    const groups = groupCount(size);
    if (group < 0 || group >= groups || this.#ranks === 0) return undefined;
    // Stretches of nearly one length, so that an object a little longer than one has no short one at its end.
    const length = Math.ceil(groups / Math.ceil(groups / STRETCH_GROUPS));
    const stretch = Math.floor(group / length);
    const ranking = this.#ranking(objectId, stretch, Math.min(length, groups - stretch * length));
    return { ranking, first: (group - stretch * length) * this.#ranks };
  }

  #ranking(objectId: string, stretch: number, groups: number): Uint16Array {
    const key = `${objectId}/${stretch}/${groups}`;
    const known = this.#rankings.get(key);
    if (known !== undefined) return known;
    const ranking = this.#strata.rank(nameWords(objectId), stretch, groups, this.#ranks);
    this.#rankings.set(key, ranking);
    return ranking;
  }
}

function checkMembers(sorted: readonly Member[]): void {
  if (sorted.length > MAX_MEMBERS)
    throw new MillraceError("MILLRACE_CONFIG", `peers.discover: ${sorted.length} members; at most ${MAX_MEMBERS} can share a cache`);
  for (const [i, { id, weight }] of sorted.entries()) {
    if (id === sorted[i + 1]?.id)
      throw new MillraceError("MILLRACE_CONFIG", `peers.discover: two members have the id "${id}"; give each node its own`);
    if (!isWeight(weight))
      throw new MillraceError("MILLRACE_CONFIG", `peers.weight: expected 0, or ${WEIGHTS.min} to ${WEIGHTS.max}, got ${weight} of "${id}"`);
  }
}
