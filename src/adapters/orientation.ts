/** Turning an image upright by its Exif orientation. */
import type { Size } from "./crop-plan.js";
import type { Pixels } from "./resample.js";

/** From 5 on, the stored rows are the image's columns. */
const FIRST_LYING = 5;
/** The orientations whose stored rows run from right to left, and whose stored columns run from the bottom up. */
const FROM_RIGHT: readonly number[] = [2, 3, 7, 8];
const FROM_BOTTOM: readonly number[] = [3, 4, 6, 7];

export function uprightSize({ width, height }: Size, orientation: number): Size {
  return orientation < FIRST_LYING ? { width, height } : { width: height, height: width };
}

/** `stored` itself where it is upright (1), else a copy. */
export function upright(stored: Pixels, orientation: number): Pixels {
  if (orientation === 1) return stored;
  const { data, channels } = stored;
  const size = uprightSize(stored, orientation);
  const out = new Uint8Array(data.length);
  // How far one step to the right and one down in the result lead in what is stored.
  const alongRow = (FROM_RIGHT.includes(orientation) ? -1 : 1) * channels;
  const alongColumn = (FROM_BOTTOM.includes(orientation) ? -1 : 1) * channels * stored.width;
  const [right, down] = orientation < FIRST_LYING ? [alongRow, alongColumn] : [alongColumn, alongRow];
  const first = (alongRow < 0 ? (stored.width - 1) * channels : 0) + (alongColumn < 0 ? (stored.height - 1) * stored.width * channels : 0);
  let to = 0;
  for (let y = 0; y < size.height; y++)
    for (let x = 0, from = first + y * down; x < size.width; x++, from += right)
      for (let c = 0; c < channels; c++) out[to++] = data[from + c]!;
  return { data: out, channels, ...size };
}
