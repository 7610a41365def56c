/**
 * From an epoch's order to what one rank must fetch, in order of need, and where each of its samples will lie.
 * Windows are opened lazily, as read-ahead or the loop gets to them; one whose samples are used up is forgotten.
 */
import type { EpochOrder, OrderWindow } from "../order/epoch-order.js";
import type { BatchRows } from "./batch-rows.js";
import { Piece, type PieceSource } from "./piece.js";

interface OpenWindow {
  readonly window: OrderWindow;
  /** Row of the view at each place of the window. */
  readonly rows: Float64Array;
  /** Which of the pieces holds each place; −1 where another rank has the sample. */
  readonly pieceAt: Int32Array;
  readonly pieces: readonly (Piece | undefined)[];
  remaining: number;
}

interface PlannedPiece {
  readonly piece: Piece;
  readonly needPosition: number;
}

export class EpochPieces implements Iterator<Piece> {
  readonly #windows: Iterator<OrderWindow>;
  readonly #source: PieceSource;
  readonly #lanes: number;
  readonly #mine: (position: number) => boolean;
  readonly #soonUntil: number;
  /** By lane: its open windows, in order. */
  readonly #open = new Map<number, OpenWindow[]>();
  /** Pieces of open windows whose turn to be fetched has not come. */
  #planned: PlannedPiece[] = [];
  #plannedHead = 0;
  /** Read one window further than opened, to see where a group ends. */
  #lookahead: OrderWindow | undefined;

  /**
   * `mine` says which positions this rank reads. Samples at positions below `soonUntil` are pieces apart from the rest of their chunks, so
   * that a run's first batch waits for its own bytes only. Default: none.
   */
  constructor(order: EpochOrder, source: PieceSource, from: number, mine: (position: number) => boolean, soonUntil: number = from) {
    this.#windows = order.windows(from)[Symbol.iterator]();
    this.#source = source;
    this.#mine = (position) => position >= from && mine(position);
    this.#soonUntil = soonUntil;
    this.#advance();
    this.#lanes = this.#lookahead?.lanes ?? 1;
  }

  /** The next piece in order of need. */
  next(): IteratorResult<Piece> {
    while (this.#plannedHead === this.#planned.length) if (!this.#openGroup()) return { done: true, value: undefined };
    return { done: false, value: this.#planned[this.#plannedHead++]!.piece };
  }

  /** Adds the sample at a position to a batch, and returns the piece that holds it. Each position is asked for once, and must be this rank's. */
  take(position: number, batch: BatchRows): Piece {
    const open = this.#find(position);
    const place = (position - open.window.firstPosition) / this.#lanes;
    if (--open.remaining === 0) this.#open.get(open.window.lane)!.splice(this.#open.get(open.window.lane)!.indexOf(open), 1);
    batch.add(open.rows[place]!);
    return open.pieces[open.pieceAt[place]!]!;
  }

  #find(position: number): OpenWindow {
    for (;;) {
      for (const open of this.#open.get(position % this.#lanes) ?? []) {
        const place = (position - open.window.firstPosition) / this.#lanes;
        if (place >= 0 && place < open.window.size) return open;
      }
      if (!this.#openGroup()) throw new RangeError(`position ${position} is not in the order`);
    }
  }

  /** Opens the next window, and those that begin within one round of the lanes after it: at an epoch's start, all of them. */
  #openGroup(): boolean {
    const first = this.#lookahead;
    if (first === undefined) return false;
    const planned: PlannedPiece[] = [];
    while (this.#lookahead !== undefined && this.#lookahead.firstPosition < first.firstPosition + first.lanes) {
      this.#openWindow(this.#lookahead, planned);
      this.#advance();
    }
    planned.sort((a, b) => a.needPosition - b.needPosition);
    this.#planned = [...this.#planned.slice(this.#plannedHead), ...planned];
    this.#plannedHead = 0;
    return true;
  }

  #openWindow(window: OrderWindow, planned: PlannedPiece[]): void {
    const rows = new Float64Array(window.size);
    const needs: number[] = [];
    const pieceAt = new Int32Array(window.size).fill(-1);
    const chunks = window.pieces.length;
    /** The chunks' pieces, then what is needed soon of each. */
    const counts = new Uint32Array(window.firstPosition < this.#soonUntil ? 2 * chunks : chunks);
    let remaining = 0;
    for (let i = 0; i < window.size; i++) {
      const position = window.firstPosition + i * window.lanes;
      if (!this.#mine(position)) continue;
      const number = window.pieceAt(i) + (position < this.#soonUntil ? chunks : 0);
      rows[i] = window.sampleAt(i);
      pieceAt[i] = number;
      needs[number] ??= position;
      counts[number]!++;
      remaining++;
    }
    if (remaining === 0) return;
    const members = membersOf(rows, pieceAt, counts);
    const pieces = members.map((rowsOf, number) => {
      if (rowsOf.length === 0) return undefined;
      const { first, count } = window.pieces[number % chunks]!;
      const piece = new Piece(this.#source, first, count, rowsOf);
      planned.push({ piece, needPosition: needs[number]! });
      return piece;
    });
    const lane = this.#open.get(window.lane) ?? [];
    lane.push({ window, rows, pieceAt, pieces, remaining });
    this.#open.set(window.lane, lane);
  }

  #advance(): void {
    const result = this.#windows.next();
    this.#lookahead = result.done === true ? undefined : result.value;
  }
}

/** The rows of each piece, ascending. */
function membersOf(rows: Float64Array, pieceAt: Int32Array, counts: Uint32Array): Float64Array[] {
  const members = Array.from(counts, (count) => new Float64Array(count));
  const filled = new Uint32Array(counts.length);
  for (let i = 0; i < rows.length; i++) {
    const number = pieceAt[i]!;
    if (number >= 0) members[number]![filled[number]!++] = rows[i]!;
  }
  for (const each of members) each.sort();
  return members;
}
