/**
 * Rendezvous hashing that knows what lies together: each member draws one ticket for each group of a stretch, the best ticket owns.
 *
 * Independent tickets (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996; weights by −ln(u) ÷ w: Schindelhauer and
 * Schomaker, "Weighted Distributed Hash Tables", 2005) leave counts as uneven as thrown dice. Here a member's tickets over a stretch of n groups
 * are stratified, as in Latin hypercube sampling (McKay, Beckman and Conover, 1979): one from each n-th of [0, 1), dealt to the groups by a
 * shuffle of its own (Durstenfeld, 1964). Each ticket is still uniform and independent of all other members', so that shares are exactly by
 * weight and a member that leaves moves what it owned and nothing else; but nobody is lucky everywhere in a stretch.
 */
import { GOLDEN, mix32 } from "../util/mix32.js";

/** What the tickets of a member or of an object depend on: 64 bits of its name. */
export interface NameWords {
  readonly a: number;
  readonly b: number;
}

export function nameWords(name: string): NameWords {
  let a = GOLDEN;
  let b = 0x85ebca6b;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    a = mix32(a ^ code);
    b = mix32(b + Math.imul(code + 1, 0xc2b2ae35));
  }
  return { a, b };
}

export interface Drawer {
  readonly name: NameWords;
  /** Above 0. */
  readonly weight: number;
}

const WORDS = 2 ** 32;

/** The best few drawers of every group of a stretch. Holds scratch memory for its drawers: n bytes each, for stretches of n ≤ 256 groups. */
export class Strata {
  readonly #count: number;
  readonly #namesA: Int32Array;
  readonly #namesB: Int32Array;
  readonly #weights: Float64Array;
  readonly #largestWeight: number;
  /** What a drawer's tickets of the present stretch depend on. */
  readonly #keysA: Int32Array;
  readonly #keysB: Int32Array;
  /** Row d: the groups that drawer d has no ticket for yet. */
  #undealt: Uint8Array = new Uint8Array(0);

  constructor(drawers: readonly Drawer[]) {
    this.#count = drawers.length;
    this.#namesA = Int32Array.from(drawers, ({ name }) => name.a);
    this.#namesB = Int32Array.from(drawers, ({ name }) => name.b);
    this.#weights = Float64Array.from(drawers, ({ weight }) => weight);
    this.#largestWeight = drawers.reduce((largest, { weight }) => Math.max(largest, weight), 0);
    this.#keysA = new Int32Array(drawers.length);
    this.#keysB = new Int32Array(drawers.length);
  }

  /**
   * For each group g < `groups` ≤ 256 of a stretch, the `ranks` ≤ drawers best: `result[g * ranks]` is the index of the owner, then who comes
   * next. Strata are drawn from the best down, until nobody can come in any more: with thousands of drawers, the first or second is the last.
   */
  rank(object: NameWords, stretch: number, groups: number, ranks: number): Uint16Array {
    const best = new Best(groups, ranks);
    this.#begin(object, stretch, groups);
    for (let stratum = groups - 1; stratum >= 0; stratum--) {
      if (best.allWithin(-Math.log((stratum + 1) / groups) / this.#largestWeight)) break;
      this.#draw(stratum, groups, best);
    }
    return best.indices;
  }

  #begin(object: NameWords, stretch: number, groups: number): void {
    const a = mix32(object.a ^ stretch);
    const b = mix32(object.b + Math.imul(stretch, GOLDEN));
    for (let d = 0; d < this.#count; d++) {
      this.#keysA[d] = mix32(a ^ this.#namesA[d]!);
      this.#keysB[d] = mix32(b + this.#namesB[d]!);
    }
    const bytes = this.#count * groups;
    if (this.#undealt.length < bytes) this.#undealt = new Uint8Array(bytes);
    for (let g = 0; g < groups; g++) this.#undealt[g] = g;
    for (let filled = groups; filled < bytes; filled *= 2) this.#undealt.copyWithin(filled, 0, Math.min(filled, bytes - filled));
  }

  /** Every drawer deals its ticket of the stratum, and so of [stratum ÷ groups, (stratum + 1) ÷ groups), to one of its undealt groups. */
  #draw(stratum: number, groups: number, best: Best): void {
    const undealt = this.#undealt;
    const left = stratum + 1;
    const step = Math.imul(left, GOLDEN);
    for (let d = 0; d < this.#count; d++) {
      const word = mix32(mix32(this.#keysA[d]! + step) ^ this.#keysB[d]!) >>> 0;
      const spot = ((word + 0.5) / WORDS) * left; // its whole part chooses the group, the rest the place in the stratum
      const place = Math.floor(spot);
      const row = d * groups;
      const group = undealt[row + place]!;
      undealt[row + place] = undealt[row + stratum]!;
      best.offer(group, d, (stratum + spot - place) / groups, this.#weights[d]!);
    }
  }
}

/** The few cheapest of each group, cheapest first. */
class Best {
  readonly indices: Uint16Array;
  readonly #costs: Float64Array;
  readonly #ranks: number;
  /** Groups before it are known to be complete. */
  #settled = 0;

  constructor(groups: number, ranks: number) {
    this.indices = new Uint16Array(groups * ranks);
    this.#costs = new Float64Array(groups * ranks).fill(Number.POSITIVE_INFINITY);
    this.#ranks = ranks;
  }

  /** Equal costs stay in the order of their offers. */
  offer(group: number, index: number, ticket: number, weight: number): void {
    const first = group * this.#ranks;
    let at = first + this.#ranks - 1;
    const costs = this.#costs;
    // 1 − u ≤ −ln u: spares the logarithm of nearly all who do not come in.
    if (1 - ticket >= costs[at]! * weight) return;
    const cost = -Math.log(ticket) / weight;
    if (cost >= costs[at]!) return;
    for (; at > first && costs[at - 1]! > cost; at--) {
      costs[at] = costs[at - 1]!;
      this.indices[at] = this.indices[at - 1]!;
    }
    costs[at] = cost;
    this.indices[at] = index;
  }

  /** Whether the last rank of every group costs less than `bound`. Bounds rise from call to call. */
  allWithin(bound: number): boolean {
    const ranks = this.#ranks;
    while (this.#settled * ranks < this.#costs.length && this.#costs[(this.#settled + 1) * ranks - 1]! < bound) this.#settled++;
    return this.#settled * ranks === this.#costs.length;
  }
}
