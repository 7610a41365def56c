/** 32 well-mixed bits from 32: a bijection (the `lowbias32` constants of Chris Wellons' hash prospector). Returns a signed integer. */
export function mix32(word: number): number {
  let x = word ^ (word >>> 16);
  x = Math.imul(x, 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0xd35a2d97);
  return x ^ (x >>> 15);
}

/** 2^32 ÷ golden ratio: an odd step that visits all words. */
export const GOLDEN = 0x9e3779b9;
