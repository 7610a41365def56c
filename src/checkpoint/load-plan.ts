/** Which bytes of a file to read for which tensors, and where they go. Pure: no I/O. */
import type { Piece } from "../engine/bulk-read.js";

/** Bytes [begin, end) of a file, to lie at a multiple of `align` in memory. */
export interface Extent {
  readonly begin: number;
  readonly end: number;
  readonly align: number;
}
/** Consecutive extents that are read by one call, into one buffer. */
export interface Run {
  /** Number of its first extent. */
  readonly first: number;
  /** Where each extent lies in the buffer. */
  readonly places: readonly number[];
  readonly pieces: readonly Piece[];
  /** Of the buffer. */
  readonly byteLength: number;
}
export interface RunLimits {
  /** Of a run's buffer; a longer extent is a run of its own. */
  readonly mostBytes: number;
}

/** Extents with more between them are not near each other: they share no buffer. What is between is not held, and read only where it is short. */
const MAX_GAP = 32 * 2 ** 20;

/** Joins extents, ascending, into runs. Each is aligned in memory, also where it is not in the file: it is read to its place, not moved there. */
export function planRuns(extents: readonly Extent[], { mostBytes }: RunLimits): Run[] {
  const runs: { first: number; places: number[]; pieces: Piece[]; byteLength: number }[] = [];
  for (const [i, extent] of extents.entries()) {
    const { begin, end, align } = extent;
    let run = runs.at(-1);
    let at = run === undefined ? 0 : Math.ceil(run.byteLength / align) * align;
    if (run === undefined || begin - extents[i - 1]!.end > MAX_GAP || at + end - begin > mostBytes) {
      at = 0;
      run = { first: i, places: [], pieces: [], byteLength: 0 };
      runs.push(run);
    }
    run.places.push(at);
    addPiece(run.pieces, { begin, end, at });
    run.byteLength = at + end - begin;
  }
  return runs;
}

/** What touches in the file and in memory is one piece. */
function addPiece(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  if (piece.end === piece.begin) return;
  if (last?.end === piece.begin && last.at + last.end - last.begin === piece.at)
    pieces[pieces.length - 1] = { begin: last.begin, end: piece.end, at: last.at };
  else pieces.push(piece);
}
