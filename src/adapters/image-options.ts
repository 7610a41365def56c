/** What `image` can be asked for, and whether it makes sense. */
import { checkRandomPart, type RandomPart, type Size } from "./crop-plan.js";
import { configError } from "./decode-error.js";

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
  /** 1 is grey (the luma of BT.601), 3 is RGB (transparency is dropped), 4 is RGBA. Default 3. */
  channels?: 1 | 3 | 4 | undefined;
  /**
   * Who decodes. Default `"auto"`: `@julusian/jpeg-turbo` where it is installed and does an image faster, `sharp` for everything else.
   * Their pixels differ by 1 of 255 on average: name one where machines that differ in what is installed must agree to the bit.
   */
  decoder?: "auto" | "sharp" | "jpeg-turbo" | undefined;
}
/** The part of a decoder's context that `image` uses. */
export interface RandomContext {
  random(): number;
}

/** Throws MILLRACE_CONFIG. */
export function targetSize(size: ImageOptions["size"]): Size {
  const [height, width] = typeof size === "number" ? [size, size] : size;
  if (!(Number.isSafeInteger(height) && Number.isSafeInteger(width) && height > 0 && width > 0))
    throw configError(`size: expected whole numbers of pixels, [height, width] or one for both, got ${JSON.stringify(size)}`);
  return { width, height };
}

/** Throws MILLRACE_CONFIG. */
export function checkOptions(options: ImageOptions, target: Size, context: RandomContext | undefined): void {
  const { resize = "cover", crop = "center", channels = 3, flip = false } = options;
  oneOf("layout", options.layout ?? "NCHW", ["NCHW", "NHWC"]);
  oneOf("dtype", options.dtype ?? "float32", ["float32", "uint8"]);
  oneOf("channels", channels, [1, 3, 4]);
  oneOf("decoder", options.decoder ?? "auto", ["auto", "sharp", "jpeg-turbo"]);
  if (typeof resize !== "number") oneOf("resize", resize, ["cover", "contain", "fill"]);
  else if (!Number.isSafeInteger(resize) || resize < Math.max(target.width, target.height))
    throw configError(
      `resize: a shorter side of ${resize} leaves nothing of ${target.height} × ${target.width} to crop; give at least the longer of the two`,
    );
  if (crop !== "center" && (resize === "contain" || resize === "fill"))
    throw configError(`crop: resize "${resize}" keeps the whole image, there is nothing to crop; leave one of the two out`);
  if (typeof crop === "object" && options.resize !== undefined)
    throw configError("crop: a random part is always stretched to size; leave resize out");
  if (typeof crop === "object") checkRandomPart(crop);
  else oneOf("crop", crop, ["center", "random"]);
  if (options.dtype === "uint8" && (options.mean !== undefined || options.std !== undefined))
    throw configError('mean, std: apply to dtype "float32" only');
  if (context === undefined && (flip || crop !== "center"))
    throw configError("context: random crops and flips draw from the decoder's context; hand it in as the third argument");
}

function oneOf(option: string, value: unknown, allowed: readonly unknown[]): void {
  if (!allowed.includes(value)) throw configError(`${option}: expected one of ${allowed.join(", ")}, got ${JSON.stringify(value)}`);
}
