import { lastAtOrBelow } from "./chunks.js";
import type { Permutation } from "./prp.js";

/** A run of consecutive samples, fetched together: a chunk or a part of one. */
export interface Piece {
  readonly first: number;
  readonly count: number;
}

/** Samples that a lane mixes with one another: all of its pieces must be at hand from its first position to its last. */
export interface OrderWindow {
  readonly lane: number;
  readonly lanes: number;
  /** Global position of its first sample; the i-th has `firstPosition + i × lanes`. */
  readonly firstPosition: number;
  /** Samples in the window. */
  readonly size: number;
  readonly pieces: readonly Piece[];
  /** The window's i-th sample. */
  sampleAt(i: number): number;
  /** Index into `pieces` of the one that holds the i-th sample. */
  pieceAt(i: number): number;
}

/** What each mode of shuffling provides of one epoch. */
export interface EpochSequence {
  sampleAt(position: number): number;
  windows(fromPosition: number): Iterable<OrderWindow>;
}

/** Where a window lies in the epoch's order. */
export type WindowPlace = Pick<OrderWindow, "lane" | "lanes" | "firstPosition">;

/** A window over whole chunks (or the parts of them that are the lane's), shuffled by a permutation, or in order without one. */
export class ChunkWindow implements OrderWindow {
  readonly lane: number;
  readonly lanes: number;
  readonly firstPosition: number;
  readonly size: number;
  readonly pieces: readonly Piece[];
  readonly #shuffle: Permutation | undefined;
  /** Place in the window of each piece's first sample, before shuffling. */
  readonly #begins: Float64Array;
  /** Of the sample last asked for: callers want its number and its piece, and the permutation is dear. */
  #i = -1;
  #place = 0;
  #piece = 0;

  constructor(place: WindowPlace, pieces: readonly Piece[], size: number, shuffle: Permutation | undefined) {
    this.lane = place.lane;
    this.lanes = place.lanes;
    this.firstPosition = place.firstPosition;
    this.pieces = pieces;
    this.size = size;
    this.#shuffle = shuffle;
    this.#begins = new Float64Array(pieces.length);
    for (let p = 1; p < pieces.length; p++) this.#begins[p] = this.#begins[p - 1]! + pieces[p - 1]!.count;
  }

  sampleAt(i: number): number {
    this.#find(i);
    return this.pieces[this.#piece]!.first + this.#place - this.#begins[this.#piece]!;
  }

  pieceAt(i: number): number {
    this.#find(i);
    return this.#piece;
  }

  #find(i: number): void {
    if (i === this.#i) return;
    this.#i = i;
    this.#place = this.#shuffle === undefined ? i : this.#shuffle.at(i);
    this.#piece = lastAtOrBelow(this.#begins, this.#place);
  }
}

/** A window over samples from anywhere: neighbours among them make one piece. */
export class SampleWindow implements OrderWindow {
  readonly lane = 0;
  readonly lanes = 1;
  readonly firstPosition: number;
  readonly size: number;
  readonly pieces: readonly Piece[];
  readonly #samples: Float64Array;
  readonly #pieceFirsts: readonly number[];

  constructor(firstPosition: number, samples: Float64Array) {
    this.firstPosition = firstPosition;
    this.size = samples.length;
    this.#samples = samples;
    const pieces: { first: number; count: number }[] = [];
    for (const sample of samples.slice().sort()) {
      const last = pieces.at(-1);
      if (last !== undefined && last.first + last.count === sample) last.count++;
      else pieces.push({ first: sample, count: 1 });
    }
    this.pieces = pieces;
    this.#pieceFirsts = pieces.map((piece) => piece.first);
  }

  sampleAt(i: number): number {
    return this.#samples[i]!;
  }

  pieceAt(i: number): number {
    return lastAtOrBelow(this.#pieceFirsts, this.#samples[i]!);
  }
}
