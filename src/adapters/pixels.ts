/** From decoded pixels to the values a model takes. */
import { MillraceError } from "../errors.js";

export interface PixelFormat {
  readonly channels: number;
  readonly layout: "NCHW" | "NHWC";
  readonly dtype: "float32" | "uint8";
  readonly mean: number | readonly number[] | undefined;
  readonly std: number | readonly number[] | undefined;
}

/**
 * `pixels` (uint8, a pixel's channels side by side) in the wanted layout and dtype. float32 is `(value / 255 − mean) / std`.
 * uint8 NHWC is `pixels` itself. Throws MILLRACE_CONFIG where mean or std does not fit the channels.
 */
export function toPixels(pixels: Uint8Array<ArrayBuffer>, format: PixelFormat): Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer> {
  const { channels, layout, dtype } = format;
  if (dtype === "uint8" && (layout === "NHWC" || channels === 1)) return pixels;
  const out = dtype === "uint8" ? new Uint8Array(pixels.length) : new Float32Array(pixels.length);
  const mean = perChannel("mean", format.mean ?? 0, channels);
  const std = perChannel("std", format.std ?? 1, channels);
  if (std.some((value) => value === 0)) throw new MillraceError("MILLRACE_CONFIG", "std: must not be 0");
  const plane = pixels.length / channels;
  for (let c = 0; c < channels; c++) {
    // One multiply and one add a value instead of two divisions.
    const scale = dtype === "uint8" ? 1 : 1 / (255 * std[c]!);
    const offset = dtype === "uint8" ? 0 : -mean[c]! / std[c]!;
    const step = layout === "NCHW" ? 1 : channels;
    let to = layout === "NCHW" ? c * plane : c;
    for (let from = c; from < pixels.length; from += channels, to += step) out[to] = pixels[from]! * scale + offset;
  }
  return out;
}

function perChannel(option: string, value: number | readonly number[], channels: number): readonly number[] {
  const values = typeof value === "number" ? new Array<number>(channels).fill(value) : value;
  if (values.length !== channels || !values.every(Number.isFinite))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: expected a number or ${channels} of them, one a channel, got ${JSON.stringify(value)}`,
    );
  return values;
}
