/** Decodes one picture, in a decode worker. It is a module of its own because functions do not cross threads. */
import { defineDecoder } from "millrace";
import { image } from "millrace/decode";

export const SIDE = 32;

export default defineDecoder(import.meta, {
  output: { image: { dtype: "float32", shape: [3, SIDE, SIDE] } },
  decode: async (sample: { bytes: Uint8Array }) => ({ image: await image(sample.bytes, { size: SIDE, layout: "NCHW" }) }),
});
