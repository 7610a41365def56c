import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Piece, planParts } from "../../../src/engine/bulk-read.js";

const MIB = 2 ** 20;
const piece = (begin: number, end: number, at = 0): Piece => ({ begin, end, at });

describe("planParts", () => {
  test("one piece is cut at multiples of 8 MiB of the object", () => {
    expect(planParts([piece(3, 17 * MIB, 100)])).toEqual([
      { begin: 3, end: 8 * MIB, pieces: [piece(3, 8 * MIB, 100)] },
      { begin: 8 * MIB, end: 16 * MIB, pieces: [piece(8 * MIB, 16 * MIB, 100 + 8 * MIB - 3)] },
      { begin: 16 * MIB, end: 17 * MIB, pieces: [piece(16 * MIB, 17 * MIB, 100 + 16 * MIB - 3)] },
    ]);
  });

  test("parts are of 16 MiB for as long as more than one of these is left to each of 16 connections", () => {
    const lengths = (bytes: number) => planParts([piece(0, bytes)], bytes).map(({ begin, end }) => (end - begin) / MIB);
    expect(lengths(256 * MIB)).toEqual(Array(32).fill(8));
    expect(lengths(280 * MIB)).toEqual([16, 16, ...Array(31).fill(8)]);
    expect(planParts([piece(0, 280 * MIB)])).toHaveLength(35);
  });

  test("pieces with up to a MiB between them are one part, others are not", () => {
    const near = [piece(0, 10), piece(10 + MIB, 20 + MIB, 10)];
    expect(planParts(near)).toEqual([{ begin: 0, end: 20 + MIB, pieces: near }]);
    expect(planParts([piece(0, 10), piece(11 + MIB, 20 + MIB, 10)])).toHaveLength(2);
  });

  test("nothing is asked for nothing", () => {
    expect(planParts([])).toEqual([]);
    expect(planParts([piece(5, 5)])).toEqual([]);
  });

  test("whatever the pieces, every byte is read once, to its place", () => {
    const steps = fc.array(fc.record({ gap: fc.integer({ min: 0, max: 3 * MIB }), length: fc.integer({ min: 0, max: 20 * MIB }) }), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(steps, fc.constantFrom(8, 16), (given, mib) => {
        let begin = 0;
        let at = 0;
        const pieces = given.map(({ gap, length }) => {
          const one = piece(begin + gap, begin + gap + length, at);
          begin = one.end;
          at += length;
          return one;
        });
        const parts = planParts(pieces, mib === 16 ? at + 257 * MIB : 0);
        for (const part of parts) {
          expect(Math.floor(part.begin / (mib * MIB))).toBe(Math.floor((part.end - 1) / (mib * MIB)));
          expect([part.pieces[0]!.begin, part.pieces.at(-1)!.end]).toEqual([part.begin, part.end]);
        }
        const cuts = parts.flatMap((part) => part.pieces);
        const joined: Piece[] = [];
        for (const cut of cuts) {
          const last = joined.at(-1);
          const touches = last?.end === cut.begin && last.at + last.end - last.begin === cut.at;
          if (touches) joined[joined.length - 1] = { ...last, end: cut.end };
          else joined.push(cut);
        }
        const expected: Piece[] = [];
        for (const one of pieces.filter((p) => p.end > p.begin)) {
          const last = expected.at(-1);
          if (last?.end === one.begin) expected[expected.length - 1] = { ...last, end: one.end };
          else expected.push(one);
        }
        expect(joined).toEqual(expected);
      }),
    );
  });
});
