/**
 * Scaling by a triangle filter that widens with the reduction: between pixels it is bilinear, and where the image shrinks each pixel of
 * the result averages all that it covers, as PIL's and torchvision's "bilinear" with antialias do. Only what the crop leaves is computed,
 * and it is written where and as the model wants it: nothing is held in between but one row.
 */
import type { CropPlan, Region, Size } from "./crop-plan.js";
import { newValues, steps, type ValueFormat, type Values } from "./pixels.js";

/** uint8, row after row, a pixel's channels side by side. */
export interface Pixels extends Size {
  readonly data: Uint8Array;
  /** 1 is grey, 3 is RGB. */
  readonly channels: 1 | 3;
}

/** For each place along one axis of the result: the first source place it takes from, how many, and by which weights. */
interface Axis {
  readonly start: Int32Array;
  readonly count: Int32Array;
  /** Place p's weights begin at p × taps. */
  readonly weights: Float64Array;
  readonly taps: number;
  /** The source places that are taken from at all: `begin` inclusive, `end` exclusive. */
  readonly begin: number;
  readonly end: number;
}

/** Where a row of the result goes: its first value, and from there to the next pixel's and to the next channel's. */
interface Place {
  readonly first: number;
  readonly pixel: number;
  readonly channel: number;
}

/** The part of `source` that `plan` leaves, at its size, as values; mirrored left to right where `mirror` is set. */
export function resample(source: Pixels, plan: CropPlan, mirror: boolean, format: ValueFormat): Values {
  const from: Region = plan.before ?? { left: 0, top: 0, width: source.width, height: source.height };
  const cut: Region = plan.after ?? { left: 0, top: 0, ...plan.scale };
  const columns = axis(from.left, from.width, plan.scale.width, cut.left, cut.width);
  const rows = axis(from.top, from.height, plan.scale.height, cut.top, cut.height);
  const out = newValues(cut.width * cut.height * format.channels, format.dtype);
  const { pixel, channel } = steps(format, cut.width * cut.height);
  const row = new Float64Array((columns.end - columns.begin) * source.channels);
  for (let y = 0; y < cut.height; y++) {
    const first = (y * cut.width + (mirror ? cut.width - 1 : 0)) * pixel;
    const place = { first, pixel: mirror ? -pixel : pixel, channel };
    mixRows(source, rows, y, columns.begin, row);
    if (source.channels === 3) mixColors(row, columns, format, out, place);
    else mixGrey(row, columns, format, out, place);
  }
  return out;
}

/** The weighted sum of the source's rows for row `y` of the result, from column `left` on; black where the result lies outside of the image. */
function mixRows({ data, width, channels }: Pixels, rows: Axis, y: number, left: number, row: Float64Array): void {
  const count = rows.count[y]!;
  if (count === 0) row.fill(0);
  for (let tap = 0; tap < count; tap++) {
    const weight = rows.weights[y * rows.taps + tap]!;
    const first = ((rows.start[y]! + tap) * width + left) * channels;
    if (tap === 0) for (let i = 0; i < row.length; i++) row[i] = weight * data[first + i]!;
    else for (let i = 0; i < row.length; i++) row[i]! += weight * data[first + i]!;
  }
}

/** RGB, and opaque where the result has transparency: the channels written out, a quarter faster than a loop over them. */
function mixColors(row: Float64Array, columns: Axis, { channels, scale, offset }: ValueFormat, out: Values, place: Place): void {
  const { begin, start, count, weights, taps } = columns;
  let to = place.first;
  for (let x = 0; x < start.length; x++, to += place.pixel) {
    let red = 0;
    let green = 0;
    let blue = 0;
    let from = (start[x]! - begin) * 3;
    const end = x * taps + count[x]!;
    for (let tap = x * taps; tap < end; tap++, from += 3) {
      const weight = weights[tap]!;
      red += weight * row[from]!;
      green += weight * row[from + 1]!;
      blue += weight * row[from + 2]!;
    }
    out[to] = red * scale[0]! + offset[0]!;
    out[to + place.channel] = green * scale[1]! + offset[1]!;
    out[to + 2 * place.channel] = blue * scale[2]! + offset[2]!;
    if (channels === 4) out[to + 3 * place.channel] = 255 * scale[3]! + offset[3]!;
  }
}

function mixGrey(row: Float64Array, columns: Axis, { scale, offset }: ValueFormat, out: Values, place: Place): void {
  const { begin, start, count, weights, taps } = columns;
  let to = place.first;
  for (let x = 0; x < start.length; x++, to += place.pixel) {
    let grey = 0;
    let from = start[x]! - begin;
    const end = x * taps + count[x]!;
    for (let tap = x * taps; tap < end; tap++, from++) grey += weights[tap]! * row[from]!;
    out[to] = grey * scale[0]! + offset[0]!;
  }
}

/** `length` source places from `begin` on, stretched to `scaled`, of which `cut` from `cutBegin` on are wanted. */
function axis(begin: number, length: number, scaled: number, cutBegin: number, cut: number): Axis {
  const shrink = length / scaled;
  const reach = Math.max(1, shrink);
  const taps = Math.ceil(2 * reach) + 1;
  const start = new Int32Array(cut);
  const count = new Int32Array(cut);
  const weights = new Float64Array(cut * taps);
  for (let place = 0; place < cut; place++) {
    const scaledPlace = cutBegin + place;
    if (scaledPlace < 0 || scaledPlace >= scaled) continue;
    const centre = (scaledPlace + 0.5) * shrink - 0.5;
    const first = Math.max(0, Math.floor(centre - reach) + 1);
    const end = Math.min(length, Math.ceil(centre + reach));
    let total = 0;
    for (let at = first; at < end; at++) total += weights[place * taps + at - first] = 1 - Math.abs(at - centre) / reach;
    for (let tap = 0; tap < end - first; tap++) weights[place * taps + tap]! /= total;
    start[place] = begin + first;
    count[place] = end - first;
  }
  const last = Math.min(cut, scaled - cutBegin) - 1;
  return { start, count, weights, taps, begin: start[Math.max(0, -cutBegin)]!, end: start[last]! + count[last]! };
}
