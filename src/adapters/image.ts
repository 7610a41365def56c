/** One image to the values a model takes: random choices first, then whichever decoder does it best. */
import { type CropPlan, containPlan, coverPlan, randomPartPlan, type Size } from "./crop-plan.js";
import { decodeError } from "./decode-error.js";
import { checkOptions, type ImageOptions, type RandomContext, targetSize } from "./image-options.js";
import { type JpegHeader, jpegHeader } from "./jpeg-header.js";
import { decodeJpeg, type JpegTurbo, loadJpegTurbo } from "./jpeg-turbo.js";
import { upright, uprightSize } from "./orientation.js";
import { toValues, type ValueFormat, type Values, valueFormat } from "./pixels.js";
import { resample } from "./resample.js";
import { loadSharp, type Sharp, sharpIfInstalled, sharpPixels, sharpSize } from "./sharp-image.js";

/** From this reduction of the part that is kept, sharp is faster on a JPEG: it may decode at a half of the size, and shrinks with SIMD. */
const SHARP_FROM_SHRINK = 2;

/**
 * Decodes one image to an array of exactly channels × height × width values, upright by its EXIF orientation. JPEGs are decoded by
 * `@julusian/jpeg-turbo` where it is installed and faster, everything else (PNG, WebP, AVIF, GIF, TIFF: what sharp reads; of an animation the
 * first frame) by `sharp`. Random choices draw from `context.random()` and from nothing else, and before anything is decoded, so they are the
 * same for every worker count, decoder, and after a resume.
 *
 * sharp decodes in libuv's pool of 4 threads for the whole process: with more than 4 decode workers, set UV_THREADPOOL_SIZE. jpeg-turbo
 * decodes on the calling thread. Throws MILLRACE_CONFIG (an option, no `context` for random choices, the package not installed) and
 * MILLRACE_DECODE (not an image that the decoder can read, or one broken off).
 */
export async function image(
  bytes: Uint8Array,
  options: ImageOptions & { dtype?: "float32" | undefined },
  context?: RandomContext,
): Promise<Float32Array<ArrayBuffer>>;
/** The same with `dtype: "uint8"`: values 0 to 255. */
export async function image(
  bytes: Uint8Array,
  options: ImageOptions & { dtype: "uint8" },
  context?: RandomContext,
): Promise<Uint8Array<ArrayBuffer>>;
/** The same where the `dtype` is not known before it runs. */
export async function image(
  bytes: Uint8Array,
  options: ImageOptions,
  context?: RandomContext,
): Promise<Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>>;
export async function image(bytes: Uint8Array, options: ImageOptions, context?: RandomContext): Promise<Values> {
  const target = targetSize(options.size);
  checkOptions(options, target, context);
  const request: Request = { bytes, options, target, context, format: valueFormat(options) };
  const wanted = options.decoder ?? "auto";
  const turbo = wanted === "sharp" ? undefined : await loadJpegTurbo(wanted === "jpeg-turbo");
  const header = turbo && jpegHeader(bytes);
  if (turbo !== undefined && header !== undefined) return plainJpeg(request, turbo, header);
  if (wanted === "jpeg-turbo")
    throw decodeError(
      'The image cannot be decoded: it is no JPEG that is whole and of a usual kind; decoder "auto" leaves others to sharp',
    );
  return anyImage(request, turbo !== undefined);
}

interface Request {
  readonly bytes: Uint8Array;
  readonly options: ImageOptions;
  readonly target: Size;
  readonly context: RandomContext | undefined;
  readonly format: ValueFormat;
}

async function plainJpeg(request: Request, turbo: JpegTurbo, header: JpegHeader): Promise<Values> {
  const { bytes, options, format } = request;
  const choice = choose(uprightSize(header, header.orientation), request);
  const otherwise = () => (options.decoder === "jpeg-turbo" ? undefined : sharpIfInstalled());
  let sharp = isForSharp(header, choice.plan) ? await otherwise() : undefined;
  if (sharp === undefined) {
    try {
      const stored = decodeJpeg(turbo, bytes, header, format.channels === 1);
      return resample(upright(stored, header.orientation), choice.plan, choice.mirror, format);
    } catch (error) {
      // libjpeg-turbo refuses what it would only have to warn of; sharp tells the one from the other.
      sharp = await otherwise();
      if (sharp === undefined) throw error;
    }
  }
  return bySharp(sharp, request, choice);
}

/** sharp alone applies a colour profile, and makes an image much smaller in less time. */
function isForSharp(header: JpegHeader, plan: CropPlan): boolean {
  const kept = plan.before ?? header;
  const shrink = Math.sqrt((kept.width * kept.height) / (plan.scale.width * plan.scale.height));
  return header.hasProfile || shrink >= SHARP_FROM_SHRINK;
}

async function anyImage(request: Request, hasTurbo: boolean): Promise<Values> {
  const { bytes, options } = request;
  const sharp = await loadSharp().catch((error) => {
    // A damaged JPEG among good ones is one sample's failure, not a package that is missing.
    if (hasTurbo && bytes[0] === 0xff && bytes[1] === 0xd8)
      throw decodeError("The image cannot be decoded: it is a damaged JPEG, or one of a kind (CMYK, 12 bits, …) that needs sharp", error);
    throw error;
  });
  const whole = options.resize === "contain" || options.resize === "fill";
  // Where the whole image is brought to size, its own size need not be known.
  return bySharp(sharp, request, choose(whole ? request.target : await sharpSize(sharp, bytes), request));
}

async function bySharp(sharp: Sharp, { bytes, options, target, format }: Request, { plan, mirror }: Choice): Promise<Values> {
  const contain = options.resize === "contain";
  return toValues(await sharpPixels(sharp, bytes, { plan, mirror, channels: format.channels, target, contain }), format);
}

interface Choice {
  readonly plan: CropPlan;
  readonly mirror: boolean;
}

/** All that is random about an image of this size, upright, drawn in an order that is part of what a seed means. */
function choose(size: Size, { options, target, context }: Request): Choice {
  const random = () => context!.random();
  const plan = planFor(size, target, options, random);
  return { plan, mirror: options.flip === true && random() < 0.5 };
}

function planFor(size: Size, target: Size, { resize = "cover", crop = "center" }: ImageOptions, random: () => number): CropPlan {
  if (typeof crop === "object") return randomPartPlan(size, target, crop, random);
  if (resize === "fill") return { scale: target };
  if (resize === "contain") return containPlan(size, target);
  return coverPlan(size, target, typeof resize === "number" ? resize : undefined, crop === "random" ? random : undefined);
}
