/** Pictures such as cameras make, the same ones each time: smooth areas of colour with grain over them. */
import sharp, { type JpegOptions } from "sharp";
import { randomFrom } from "../../examples/support/random.js";

const BLOBS = { width: 16, height: 12 };
const GRAIN = 40; // Of 256.

/** A JPEG of width × height pixels, quality 90 unless told otherwise; 500 × 375 take 70 KB. */
export async function photo(
  width: number,
  height: number,
  { seed = 1, grey = false, orientation, ...jpeg }: JpegOptions & { seed?: number; grey?: boolean; orientation?: number } = {},
): Promise<Buffer> {
  const random = randomFrom(seed);
  const blobs = Uint8Array.from({ length: BLOBS.width * BLOBS.height * 3 }, () => random() * 256);
  const pixels = await sharp(blobs, { raw: { ...BLOBS, channels: 3 } })
    .resize(width, height, { fit: "fill", kernel: "cubic" })
    .raw()
    .toBuffer();
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.max(0, Math.min(255, pixels[i]! + (random() - 0.5) * GRAIN));
  let picture = sharp(pixels, { raw: { width, height, channels: 3 } }).blur(0.5);
  if (grey) picture = picture.grayscale();
  if (orientation !== undefined) picture = picture.withMetadata({ orientation });
  return picture.jpeg({ quality: 90, ...jpeg }).toBuffer();
}
