import { GOLDEN, mix32 } from "../util/mix32.js";

/**
 * `count` words that depend on every number of the key, for use as round keys or as a generator's state.
 * Numbers are safe integers, negative ones included; 64 bits of state keep different keys apart.
 */
export function keyWords(key: readonly number[], count: number): Int32Array {
  let a = GOLDEN;
  let b = 0x85ebca6b;
  for (const value of key)
    for (const word of [value | 0, Math.floor(value / 2 ** 32) | 0]) {
      a = mix32(a ^ word);
      b = mix32(b + Math.imul(word, 0xc2b2ae35));
    }
  const words = new Int32Array(count);
  for (let i = 0; i < count; i++) words[i] = mix32(mix32(a + Math.imul(i + 1, GOLDEN)) ^ b);
  return words;
}
