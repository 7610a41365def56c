/** Any image to pixels by the optional package `sharp` (libvips). */
import { isMainThread } from "node:worker_threads";
import type { CropPlan, Size } from "./crop-plan.js";
import { configError, decodeError } from "./decode-error.js";

export type Sharp = typeof import("sharp")["default"];

/** What is left to do once all random choices are made. */
export interface SharpJob {
  readonly plan: CropPlan;
  readonly mirror: boolean;
  readonly channels: 1 | 3 | 4;
  readonly target: Size;
  /** Fitted in whole, with black bars, instead of the plan. */
  readonly contain: boolean;
}

/** Luma by ITU-R BT.601, which JPEG itself stores, and PIL and TensorFlow take for grey. */
const LUMA: [number, number, number] = [0.299, 0.587, 0.114];

let loaded: Promise<Sharp> | undefined;

/** sharp, loaded at the first image: it is optional, and costs some 50 ms. Throws MILLRACE_CONFIG where it is not installed. */
export function loadSharp(): Promise<Sharp> {
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
      throw configError(
        'image needs the package "sharp": npm install sharp. Where all images are JPEGs, "@julusian/jpeg-turbo" does instead',
        cause,
      );
    },
  );
  return loaded;
}

let absent = false;

/** Looks for sharp once only: to look for a package that is not there takes longer than to decode a small image. */
export async function sharpIfInstalled(): Promise<Sharp | undefined> {
  if (absent) return undefined;
  try {
    return await loadSharp();
  } catch {
    absent = true;
    return undefined;
  }
}

/** Pixels of the image once it is upright. Throws MILLRACE_DECODE. */
export function sharpSize(sharp: Sharp, bytes: Uint8Array): Promise<Size> {
  return orDecodeError(async () => (await open(sharp, bytes).metadata()).autoOrient);
}

/** The pixels of the finished cut, channels side by side. Throws MILLRACE_DECODE. */
export function sharpPixels(sharp: Sharp, bytes: Uint8Array, job: SharpJob): Promise<Uint8Array<ArrayBuffer>> {
  return orDecodeError(async () => {
    const { before, scale, after } = job.plan;
    let pipeline = open(sharp, bytes).autoOrient();
    if (before !== undefined) pipeline = pipeline.extract(before);
    const { width, height } = job.contain ? job.target : scale;
    // The filter that `resample` has, too.
    pipeline = pipeline.resize(width, height, { fit: job.contain ? "contain" : "fill", background: "#000", kernel: "linear" });
    if (after !== undefined && !job.contain) pipeline = pipeline.extract(after);
    if (job.mirror) pipeline = pipeline.flop();
    pipeline = pipeline.toColourspace("srgb");
    pipeline = job.channels === 4 ? pipeline.ensureAlpha() : pipeline.removeAlpha();
    if (job.channels === 1) pipeline = pipeline.recomb([LUMA, LUMA, LUMA]).extractChannel(0);
    const data = await pipeline.raw({ depth: "uchar" }).toBuffer();
    return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  });
}

/** "error" refuses images that are broken off, and lets pass the harmless warnings that real photo sets are full of. */
function open(sharp: Sharp, bytes: Uint8Array): import("sharp").Sharp {
  return sharp(bytes, { failOn: "error" });
}

async function orDecodeError<T>(decode: () => Promise<T>): Promise<T> {
  try {
    return await decode();
  } catch (cause) {
    throw decodeError(`The image cannot be decoded: ${(cause as Error).message}`, cause);
  }
}
