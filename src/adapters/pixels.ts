/** From pixels to the values a model takes, and where in the result they go. */
import { configError } from "./decode-error.js";
import type { ImageOptions } from "./image-options.js";

export type Values = Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** How a pixel's channel becomes a value: `value = pixel × scale[channel] + offset[channel]`. */
export interface ValueFormat {
  readonly channels: 1 | 3 | 4;
  readonly layout: "NCHW" | "NHWC";
  readonly dtype: "float32" | "uint8";
  readonly scale: readonly number[];
  readonly offset: readonly number[];
}

/** float32 is `(pixel / 255 − mean) / std`; uint8 is the pixel, rounded. Throws MILLRACE_CONFIG where mean or std does not fit the channels. */
export function valueFormat({ channels = 3, layout = "NCHW", dtype = "float32", mean = 0, std = 1 }: ImageOptions): ValueFormat {
  const means = perChannel("mean", mean, channels);
  const stds = perChannel("std", std, channels);
  if (stds.includes(0)) throw configError("std: must not be 0");
  // Storing into a Uint8Array cuts off the fraction: half a step more is rounding.
  if (dtype === "uint8") return { channels, layout, dtype, scale: stds, offset: stds.map(() => 0.5) };
  // One multiply and one add a value instead of two divisions.
  return { channels, layout, dtype, scale: stds.map((value) => 1 / (255 * value)), offset: means.map((value, c) => -value / stds[c]!) };
}

export function newValues(length: number, dtype: ValueFormat["dtype"]): Values {
  return dtype === "uint8" ? new Uint8Array(length) : new Float32Array(length);
}

/** From one pixel's value to the next, and from one channel's to the next, in an image of so many pixels. */
export function steps({ channels, layout }: ValueFormat, pixels: number): { readonly pixel: number; readonly channel: number } {
  return layout === "NCHW" ? { pixel: 1, channel: pixels } : { pixel: channels, channel: 1 };
}

/** `pixels` (uint8, a pixel's channels side by side) as values. uint8 NHWC is `pixels` itself. */
export function toValues(pixels: Uint8Array<ArrayBuffer>, format: ValueFormat): Values {
  const { channels, layout, dtype } = format;
  if (dtype === "uint8" && (layout === "NHWC" || channels === 1)) return pixels;
  const out = newValues(pixels.length, dtype);
  const step = steps(format, pixels.length / channels);
  for (let c = 0; c < channels; c++) {
    const scale = format.scale[c]!;
    const offset = format.offset[c]!;
    let to = c * step.channel;
    for (let from = c; from < pixels.length; from += channels, to += step.pixel) out[to] = pixels[from]! * scale + offset;
  }
  return out;
}

function perChannel(option: string, value: number | readonly number[], channels: number): readonly number[] {
  const values = typeof value === "number" ? new Array<number>(channels).fill(value) : value;
  if (values.length !== channels || !values.every(Number.isFinite))
    throw configError(`${option}: expected a number or ${channels} of them, one a channel, got ${JSON.stringify(value)}`);
  return values;
}
