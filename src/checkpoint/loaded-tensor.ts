import type { LoadedTensor, TensorDtype } from "../api.js";
import { MillraceError } from "../errors.js";
import { DTYPES, type TensorArray } from "./dtypes.js";
import { float32Of, SHORT_FLOATS } from "./float-values.js";
import type { TensorShape } from "./safetensors.js";
import { quoted } from "./strict-json.js";

/** Multiple at which a tensor of this dtype lies in memory, so that a typed array of its elements can. */
export function alignmentOf(dtype: string): number {
  return Math.max(1, Math.floor(DTYPES.get(dtype)!.bits / 8));
}

/** A tensor whose bytes lie in `buffer` from `at`, aligned. */
export class TensorView implements LoadedTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: number[];
  readonly data: TensorArray;
  readonly bytes: Uint8Array<ArrayBuffer>;

  constructor({ name, dtype, shape }: TensorShape, buffer: ArrayBuffer, at: number, byteLength: number) {
    this.name = name;
    this.dtype = dtype as TensorDtype; // The header's reader knows no other.
    this.shape = [...shape]; // The caller's own, like all of it.
    this.bytes = new Uint8Array(buffer, at, byteLength);
    const { array } = DTYPES.get(dtype)!;
    this.data = array === Uint8Array ? this.bytes : new array(buffer, at, byteLength / array.BYTES_PER_ELEMENT);
  }

  toFloat32(): Float32Array<ArrayBuffer> {
    if (this.data instanceof Float32Array) return this.data;
    if (SHORT_FLOATS.includes(this.dtype)) return float32Of(this.dtype, this.bytes);
    const instead = this.data === this.bytes ? "take `bytes`" : `take \`data\`, a ${this.data.constructor.name}`;
    const message = `tensor ${quoted(this.name)}: toFloat32 reads F32, ${SHORT_FLOATS.join(", ")}, and not ${this.dtype}: ${instead}`;
    throw new MillraceError("MILLRACE_CONFIG", message);
  }
}
