import { describe, expect, it } from "vitest";
import { jpegHeader } from "../../../src/adapters/jpeg-header.js";

const segment = (marker: number, content: readonly number[]) => [
  0xff,
  marker,
  (content.length + 2) >> 8,
  (content.length + 2) & 255,
  ...content,
];
const text = (value: string) => [...value].map((letter) => letter.charCodeAt(0));
const frame = ({ marker = 0xc0, bits = 8, height = 20, width = 30, channels = 3 } = {}) =>
  segment(marker, [bits, height >> 8, height & 255, width >> 8, width & 255, channels, ...new Array(channels * 3).fill(0)]);
const START = [0xff, 0xd8];
const SCAN = [...segment(0xda, [0]), ...new Array(50).fill(0)];
const header = (...parts: readonly number[][]) => jpegHeader(Uint8Array.from([...START, ...parts.flat()]));

/** Exif with one directory of the entries given, `[tag, value]`. */
function exif(order: "II" | "MM", ...entries: readonly [number, number][]): number[] {
  const short = (value: number) => (order === "II" ? [value & 255, value >> 8] : [value >> 8, value & 255]);
  const long = (value: number) => (order === "II" ? [...short(value), 0, 0] : [0, 0, ...short(value)]);
  const directory = entries.flatMap(([tag, value]) => [...short(tag), ...short(3), ...long(1), ...short(value), 0, 0]);
  return segment(0xe1, [...text("Exif\0\0"), ...text(order), ...short(42), ...long(8), ...short(entries.length), ...directory]);
}

describe("jpegHeader", () => {
  const plain = { width: 30, height: 20, channels: 3, orientation: 1, hasProfile: false };

  it("reads size and channels of baseline, extended and progressive frames", () => {
    for (const marker of [0xc0, 0xc1, 0xc2]) expect(header(frame({ marker }), SCAN)).toEqual(plain);
    expect(header(frame({ channels: 1 }), SCAN)).toEqual({ ...plain, channels: 1 });
    expect(header(frame({ height: 300, width: 258 }), [...SCAN, ...SCAN])).toMatchObject({ height: 300, width: 258 });
  });

  it("reads the orientation in either byte order, wherever it stands", () => {
    for (const order of ["II", "MM"] as const) {
      expect(header(exif(order, [0x112, 6]), frame(), SCAN)).toEqual({ ...plain, orientation: 6 });
      expect(header(segment(0xe0, text("JFIF\0")), exif(order, [0x100, 9], [0x112, 8]), frame(), SCAN)?.orientation).toBe(8);
    }
  });

  it("takes an orientation that makes no sense for upright", () => {
    for (const value of [0, 9, 65_535]) expect(header(exif("II", [0x112, value]), frame(), SCAN)).toEqual(plain);
    const cut = exif("MM", [0x112, 6]);
    for (let length = 0; length < cut.length - 4; length++)
      expect(header(segment(0xe1, cut.slice(4, 4 + length)), frame(), SCAN)).toMatchObject({ width: 30 });
  });

  it("sees colour profiles", () => {
    expect(header(segment(0xe2, [...text("ICC_PROFILE\0"), 1, 1]), frame(), SCAN)).toEqual({ ...plain, hasProfile: true });
    expect(header(segment(0xe2, text("MPF\0")), frame(), SCAN)).toEqual(plain);
  });

  it("passes over padding between segments", () => {
    expect(header([0xff, 0xff], frame(), SCAN)).toEqual(plain);
  });

  it.each([
    ["no JPEG", [], []],
    ["CMYK", frame({ channels: 4 }), SCAN],
    ["12 bits", frame({ bits: 12 }), SCAN],
    ["arithmetic coding", frame({ marker: 0xc9 }), SCAN],
    ["lossless", frame({ marker: 0xc3 }), SCAN],
    ["no width", frame({ width: 0 }), SCAN],
    ["a height that comes later", frame({ height: 0 }), SCAN],
    ["two frames", [...frame(), ...frame({ width: 31 })], SCAN],
    ["no frame", [], SCAN],
    ["no scan", frame(), []],
    ["more pixels than it can hold", frame({ width: 2000, height: 2000 }), SCAN],
    ["stray bytes between segments", [0, ...frame()], SCAN],
    ["a segment longer than the file", [...frame(), 0xff, 0xe0, 0xff, 0xff], SCAN],
    ["a frame cut short", segment(0xc0, [8, 0, 1]), SCAN],
  ])("does not vouch for %s", (_, head, scan) => {
    expect(header(head, scan)).toBeUndefined();
  });
});
