/** JPEG to pixels by the optional package `@julusian/jpeg-turbo`: faster than sharp where the image is not made much smaller. */
import { configError, decodeError } from "./decode-error.js";
import type { JpegHeader } from "./jpeg-header.js";
import type { Pixels } from "./resample.js";

export type JpegTurbo = Pick<typeof import("@julusian/jpeg-turbo"), "decompressSync" | "FORMAT_GRAY" | "FORMAT_RGB">;

/** Kept from image to image up to this size, in bytes (5 megapixels), so that a worker does not hold the memory of its largest image. */
const MAX_KEPT_BYTES = 16 * 2 ** 20;

let loaded: Promise<JpegTurbo | undefined> | undefined;
/** Decoding is synchronous, so one image at a time is in it. */
let kept: Buffer = Buffer.alloc(0);

/** Undefined where the package is not installed, or has no binary for this platform; MILLRACE_CONFIG instead where it is `required`. */
export async function loadJpegTurbo(required: boolean): Promise<JpegTurbo | undefined> {
  let cause: unknown;
  loaded ??= import("@julusian/jpeg-turbo").then(
    // Its names are made at run time, so only the default export has them all.
    (module) => (module as unknown as { default: JpegTurbo }).default,
    (error) => {
      cause = error;
      return undefined;
    },
  );
  const found = await loaded;
  if (found !== undefined || !required) return found;
  loaded = undefined;
  throw configError('decoder: "jpeg-turbo" needs the package "@julusian/jpeg-turbo": npm install @julusian/jpeg-turbo', cause);
}

/**
 * The stored pixels: grey as one channel where that is asked for, else RGB. They hold until the next call.
 * Throws MILLRACE_DECODE where libjpeg-turbo has an error or a warning.
 */
export function decodeJpeg(turbo: JpegTurbo, bytes: Uint8Array, { width, height }: JpegHeader, grey: boolean): Pixels {
  const channels = grey ? 1 : 3;
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const target = memory(width * height * channels);
  let decoded: { width: number; height: number };
  try {
    decoded = turbo.decompressSync(source, target, { format: grey ? turbo.FORMAT_GRAY : turbo.FORMAT_RGB });
  } catch (cause) {
    throw decodeError(`The image cannot be decoded: ${(cause as Error).message}`, cause);
  }
  if (decoded.width !== width || decoded.height !== height)
    throw decodeError(`The image cannot be decoded: its head says ${width} × ${height}, its data ${decoded.width} × ${decoded.height}`);
  return { data: target, width, height, channels };
}

function memory(bytes: number): Buffer {
  if (bytes <= kept.length) return kept.subarray(0, bytes);
  const fresh = Buffer.allocUnsafeSlow(bytes);
  if (bytes <= MAX_KEPT_BYTES) kept = fresh;
  return fresh;
}
