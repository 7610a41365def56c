/**
 * What it costs to decode JPEGs to 224 × 224 float32 NCHW on one thread: CPU s per 1,000 images by sharp, by jpeg-turbo and by what "auto"
 * takes, in interleaved rounds, for images of several sizes, whole and cropped at random. Run: `npx tsx bench/micro/decode.ts`; for figures to quote,
 * bundle it with esbuild (`--packages=external`) and run it by Node: under tsx, with sharp loaded, jpeg-turbo's part came out a third slower.
 */
import sharp from "sharp";
import { randomFrom } from "../../examples/support/random.js";
import { type ImageOptions, image } from "../../src/adapters/decode.js";
import { photo } from "../../test/support/photo.js";

const ROUNDS = 7;
/** Pixels decoded a round and decoder: some 40 images of 500 × 375. */
const PIXELS_A_ROUND = 7_500_000;
const SIZES = [
  [500, 375],
  [640, 480],
  [1000, 750],
  [2000, 1500],
] as const;
const CROPS: readonly [string, Partial<ImageOptions>][] = [
  ["middle", {}],
  ["random part", { crop: { scale: [0.08, 1] }, flip: true }],
];
const DECODERS = ["sharp", "jpeg-turbo", "auto"] as const;

// As in a decode worker.
sharp.concurrency(1);
sharp.cache(false);

/** CPU seconds per 1,000 images. */
async function cost(bytes: Uint8Array, images: number, options: ImageOptions): Promise<number> {
  const random = randomFrom(1);
  const before = process.cpuUsage();
  for (let i = 0; i < images; i++) await image(bytes, options as ImageOptions & { dtype?: "float32" }, { random });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / images;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

console.log(`CPU s per 1,000 images (images/s of a core), medians of ${ROUNDS} interleaved rounds`);
for (const [width, height] of SIZES) {
  const bytes = await photo(width, height);
  const images = Math.ceil(PIXELS_A_ROUND / (width * height));
  for (const [crop, options] of CROPS) {
    const costs = DECODERS.map((): number[] => []);
    // The first round is warm-up.
    for (let round = 0; round <= ROUNDS; round++)
      for (const [i, decoder] of DECODERS.entries()) {
        const seconds = await cost(bytes, images, { size: 224, decoder, ...options });
        if (round > 0) costs[i]!.push(seconds);
      }
    const figures = DECODERS.map((decoder, i) => `${decoder} ${median(costs[i]!).toFixed(2)} (${Math.round(1000 / median(costs[i]!))})`);
    const ratio = median(costs[0]!.map((seconds, round) => seconds / costs[1]![round]!));
    const name = `${width} × ${height}, ${bytes.length >> 10} KiB, ${crop}`;
    console.log(`${name.padEnd(38)} ${figures.join("   ")}   sharp ÷ jpeg-turbo ${ratio.toFixed(2)}`);
  }
}
