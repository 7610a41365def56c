/**
 * `millrace/decode`: image decoding for use in a decoder module, on the optional package `sharp` (libvips).
 *
 * ```ts
 * // jpeg-decoder.ts
 * import { defineDecoder } from "millrace";
 * import { image } from "millrace/decode";
 * export default defineDecoder(import.meta, {
 *   output: { image: { dtype: "float32", shape: [3, 224, 224] }, label: "int32" },
 *   decode: async (sample: { bytes: Uint8Array; label: number }, context) => ({
 *     image: await image(sample.bytes, { size: 224, crop: { scale: [0.08, 1] }, flip: true }, context),
 *     label: sample.label,
 *   }),
 * });
 * ```
 * A decoder must be a module, because functions do not cross threads.
 */
import { isMainThread } from "node:worker_threads";
import { MillraceError } from "../errors.js";
import { type CropPlan, checkRandomPart, coverPlan, type RandomPart, randomPartPlan, type Size } from "./crop-plan.js";
import { toPixels } from "./pixels.js";

export type { RandomPart } from "./crop-plan.js";

export interface ImageOptions {
  /** Pixels of the result: `[height, width]`, or one number for a square. */
  size: number | readonly [height: number, width: number];
  /** Order of the result's values. Default `"NCHW"`: a plane a channel; `"NHWC"`: a pixel's channels side by side. */
  layout?: "NCHW" | "NHWC" | undefined;
  /** Default `"float32"`: 0 to 1, then `mean` and `std`. `"uint8"`: 0 to 255. */
  dtype?: "float32" | "uint8" | undefined;
  /** Taken from each value (float32, scale 0 to 1), for all channels or for each. Default 0. */
  mean?: number | readonly number[] | undefined;
  /** Each value is divided by it after `mean` is taken off. Default 1. */
  std?: number | readonly number[] | undefined;
  /**
   * How the image is brought to size. `"cover"` (default): scaled to just cover it, what stands out is cropped. A number: scaled
   * to a shorter side of so many pixels, then cropped. `"contain"`: fitted in whole, with black bars. `"fill"`: stretched.
   */
  resize?: "cover" | "contain" | "fill" | number | undefined;
  /** Which part stays where `resize` crops: `"center"` (default) or `"random"`; or a random part of the image, stretched to size. */
  crop?: "center" | "random" | RandomPart | undefined;
  /** True mirrors half of the images, left to right, by `context.random()`. Default false. */
  flip?: boolean | undefined;
  /** 1 is grey, 3 is RGB (transparency is dropped), 4 is RGBA. Default 3. */
  channels?: 1 | 3 | 4 | undefined;
}
/** The part of a decoder's context that `image` uses. */
export interface RandomContext {
  random(): number;
}

/**
 * Decodes one image (JPEG, PNG, WebP, AVIF, GIF, TIFF: what sharp reads; of an animation the first frame), upright by its
 * EXIF orientation, to an array of exactly channels × height × width values. Random choices draw from `context.random()`
 * and from nothing else, so they are the same for every worker count and after a resume.
 *
 * libuv decodes in a pool of 4 threads for the whole process: with more than 4 decode workers, set UV_THREADPOOL_SIZE.
 * Throws MILLRACE_CONFIG (an option, no `context` for random choices, sharp not installed) and MILLRACE_DECODE (not an image
 * that sharp can read, or one broken off).
 */
export async function image(
  bytes: Uint8Array,
  options: ImageOptions & { dtype: "uint8" },
  context?: RandomContext,
): Promise<Uint8Array<ArrayBuffer>>;
export async function image(
  bytes: Uint8Array,
  options: ImageOptions & { dtype?: "float32" | undefined },
  context?: RandomContext,
): Promise<Float32Array<ArrayBuffer>>;
export async function image(
  bytes: Uint8Array,
  options: ImageOptions,
  context?: RandomContext,
): Promise<Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>> {
  const target = targetSize(options.size);
  checkOptions(options, target, context);
  const sharp = await loadSharp();
  const channels = options.channels ?? 3;
  try {
    const pixels = await render(sharp, bytes, options, target, context);
    return toPixels(pixels, {
      channels,
      layout: options.layout ?? "NCHW",
      dtype: options.dtype ?? "float32",
      mean: options.mean,
      std: options.std,
    });
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw new MillraceError("MILLRACE_DECODE", `The image cannot be decoded: ${(cause as Error).message}`, { cause });
  }
}

type Sharp = typeof import("sharp")["default"];

/** The pixels of the finished cut, channels side by side. */
async function render(
  sharp: Sharp,
  bytes: Uint8Array,
  options: ImageOptions,
  target: Size,
  context: RandomContext | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  // "error" refuses images that are broken off, and lets pass the harmless warnings that real photo sets are full of.
  const input = sharp(bytes, { failOn: "error" });
  const plan = await planFor(input, options, target, context);
  let pipeline = input.autoOrient();
  if (plan?.before !== undefined) pipeline = pipeline.extract(plan.before);
  const { width, height } = plan?.scale ?? target;
  pipeline = pipeline.resize(width, height, {
    fit: plan === undefined && options.resize === "contain" ? "contain" : "fill",
    background: "#000",
  });
  if (plan?.after !== undefined) pipeline = pipeline.extract(plan.after);
  if (options.flip && context!.random() < 0.5) pipeline = pipeline.flop();
  pipeline = options.channels === 1 ? pipeline.toColourspace("b-w") : pipeline.toColourspace("srgb");
  pipeline = options.channels === 4 ? pipeline.ensureAlpha() : pipeline.removeAlpha();
  const data = await pipeline.raw({ depth: "uchar" }).toBuffer();
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** Undefined where the whole image is brought to size, so that its own size need not be known. */
async function planFor(
  input: import("sharp").Sharp,
  options: ImageOptions,
  target: Size,
  context: RandomContext | undefined,
): Promise<CropPlan | undefined> {
  const { resize = "cover", crop = "center" } = options;
  if (typeof crop !== "object" && (resize === "contain" || resize === "fill")) return undefined;
  const { autoOrient: size } = await input.metadata();
  if (typeof crop === "object") return randomPartPlan(size, target, crop, () => context!.random());
  const random = crop === "random" ? () => context!.random() : undefined;
  return coverPlan(size, target, typeof resize === "number" ? resize : undefined, random);
}

let loaded: Promise<Sharp> | undefined;

/** sharp, loaded at the first image: it is optional, and costs some 50 ms. */
function loadSharp(): Promise<Sharp> {
  loaded ??= import("sharp").then(
    ({ default: sharp }) => {
      // A decode worker a core is all the parallelism there is room for: threads within an image would only compete.
      if (!isMainThread) sharp.concurrency(1);
      // libvips remembers operations on images it has seen; here none comes twice.
      if (!isMainThread) sharp.cache(false);
      return sharp;
    },
    (cause) => {
      loaded = undefined;
      throw new MillraceError("MILLRACE_CONFIG", 'millrace/decode needs the package "sharp": npm install sharp', { cause });
    },
  );
  return loaded;
}

function targetSize(size: ImageOptions["size"]): Size {
  const [height, width] = typeof size === "number" ? [size, size] : size;
  if (!(Number.isSafeInteger(height) && Number.isSafeInteger(width) && height > 0 && width > 0))
    throw config(`size: expected whole numbers of pixels, [height, width] or one for both, got ${JSON.stringify(size)}`);
  return { width, height };
}

function checkOptions(options: ImageOptions, target: Size, context: RandomContext | undefined): void {
  const { resize = "cover", crop = "center", channels = 3, flip = false } = options;
  oneOf("layout", options.layout ?? "NCHW", ["NCHW", "NHWC"]);
  oneOf("dtype", options.dtype ?? "float32", ["float32", "uint8"]);
  oneOf("channels", channels, [1, 3, 4]);
  if (typeof resize !== "number") oneOf("resize", resize, ["cover", "contain", "fill"]);
  else if (!Number.isSafeInteger(resize) || resize < Math.max(target.width, target.height))
    throw config(
      `resize: a shorter side of ${resize} leaves nothing of ${target.height} × ${target.width} to crop; give at least the longer of the two`,
    );
  if (crop !== "center" && (resize === "contain" || resize === "fill"))
    throw config(`crop: resize "${resize}" keeps the whole image, there is nothing to crop; leave one of the two out`);
  if (typeof crop === "object" && options.resize !== undefined)
    throw config("crop: a random part is always stretched to size; leave resize out");
  if (typeof crop === "object") checkRandomPart(crop);
  else oneOf("crop", crop, ["center", "random"]);
  if (options.dtype === "uint8" && (options.mean !== undefined || options.std !== undefined))
    throw config('mean, std: apply to dtype "float32" only');
  if (context === undefined && (flip || crop !== "center"))
    throw config("context: random crops and flips draw from the decoder's context; hand it in as the third argument");
}

function oneOf(option: string, value: unknown, allowed: readonly unknown[]): void {
  if (!allowed.includes(value)) throw config(`${option}: expected one of ${allowed.join(", ")}, got ${JSON.stringify(value)}`);
}

function config(message: string): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", message);
}
