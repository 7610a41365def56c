/** As little work as a decoder can do: what its threads take is then their own. */
import { defineDecoder } from "../../src/index.js";

export const IMAGE_BYTES = 110_000;

export default defineDecoder(import.meta, {
  output: { image: { dtype: "uint8", shape: [IMAGE_BYTES] } },
  keepsNothing: true,
  decode: ({ record }: { record: Uint8Array<ArrayBuffer> }) => ({ image: record }),
});
