/**
 * The values of short floating-point formats as bits of float32, by tables: each is exact, a NaN keeps its sign and payload.
 *
 * F16: IEEE 754-2008 binary16. BF16: the upper half of binary32.
 * F8_E5M2, F8_E4M3: OCP 8-bit Floating Point Specification (OFP8) 1.0, 2023; E4M3 has no infinity, and NaN only where all but the sign is 1.
 * F8_E5M2FNUZ, F8_E4M3FNUZ: Noune et al., "8-bit Numerical Formats for Deep Neural Networks", arXiv 2206.02915, as in LLVM's APFloat: the bias is
 * one more, and 0x80, which would be −0, is the only NaN.
 * F8_E8M0: OCP Microscaling Formats (MX) 1.0, 2023, 5.4.1: a power of two, 2^(bits − 127); 0xFF is NaN.
 */

interface FloatLayout {
  readonly bytes: 1 | 2;
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  /** What the highest exponent means: as in IEEE 754, NaN for the highest mantissa only, or nothing special. */
  readonly top: "ieee" | "nan" | "finite";
}

const LAYOUTS: ReadonlyMap<string, FloatLayout> = new Map([
  ["F16", { bytes: 2, exponentBits: 5, mantissaBits: 10, bias: 15, top: "ieee" }],
  ["BF16", { bytes: 2, exponentBits: 8, mantissaBits: 7, bias: 127, top: "ieee" }],
  ["F8_E5M2", { bytes: 1, exponentBits: 5, mantissaBits: 2, bias: 15, top: "ieee" }],
  ["F8_E4M3", { bytes: 1, exponentBits: 4, mantissaBits: 3, bias: 7, top: "nan" }],
  ["F8_E5M2FNUZ", { bytes: 1, exponentBits: 5, mantissaBits: 2, bias: 16, top: "finite" }],
  ["F8_E4M3FNUZ", { bytes: 1, exponentBits: 4, mantissaBits: 3, bias: 8, top: "finite" }],
  ["F8_E8M0", { bytes: 1, exponentBits: 8, mantissaBits: 0, bias: 127, top: "nan" }],
]);

const MANTISSA_BITS = 23;
const QUIET_NAN = 0x7fc00000;
const EXPONENT_ONES = 0x7f800000;

const tables = new Map<string, Uint32Array>();

/** The dtypes that `float32Of` reads. */
export const SHORT_FLOATS: readonly string[] = [...LAYOUTS.keys()];

/** Values of a short format as float32. `bytes`: little-endian, at an even offset for formats of 2 bytes. */
export function float32Of(dtype: string, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const layout = LAYOUTS.get(dtype)!;
  let table = tables.get(dtype);
  if (table === undefined) {
    table = Uint32Array.from({ length: 2 ** (8 * layout.bytes) }, (_, code) => float32Bits(layout, code));
    tables.set(dtype, table);
  }
  const codes = layout.bytes === 1 ? bytes : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  // As bits: a NaN that passes through a float may lose its payload.
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = table[codes[i]!]!;
  return new Float32Array(bits.buffer);
}

function float32Bits({ bytes, exponentBits, mantissaBits, bias, top }: FloatLayout, code: number): number {
  const negative = exponentBits + mantissaBits < 8 * bytes && code >>> (exponentBits + mantissaBits) === 1;
  const sign = negative ? 0x80000000 : 0;
  const mantissa = code & (2 ** mantissaBits - 1);
  const exponent = (code >>> mantissaBits) & (2 ** exponentBits - 1);
  const highest = exponent === 2 ** exponentBits - 1;
  if (top === "ieee" && highest) return (sign | EXPONENT_ONES | (mantissa << (MANTISSA_BITS - mantissaBits))) >>> 0;
  if (top === "nan" && highest && mantissa === 2 ** mantissaBits - 1) return (sign | QUIET_NAN) >>> 0;
  if (top === "finite" && negative && exponent === 0 && mantissa === 0) return QUIET_NAN;
  // Without a mantissa nothing is subnormal: exponent 0 is a power of two like any other.
  const value =
    exponent === 0 && mantissaBits > 0
      ? mantissa * 2 ** (1 - bias - mantissaBits)
      : (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
  return (sign | new Uint32Array(Float32Array.of(value).buffer)[0]!) >>> 0;
}
