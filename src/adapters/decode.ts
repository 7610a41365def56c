/**
 * `millrace/decode`: what a decoder module needs to turn a record's bytes into numbers.
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
export type { RandomPart } from "./crop-plan.js";
export { image } from "./image.js";
export type { ImageOptions, RandomContext } from "./image-options.js";
export { type NpyArray, npy } from "./npy.js";
export { json, utf8 } from "./text.js";
export { type WavAudio, type WavOptions, wav } from "./wav.js";
