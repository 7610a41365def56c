import { keyWords } from "./mix.js";

/**
 * A decoder's `random()`: uniform in [0, 1) in steps of 2^-32, a function of (seed, epoch, index) and of how often it was called.
 * Doty-Humphrey's sfc32, its state drawn from the key, so that making one for every sample is cheap.
 */
export function sampleRandom(seed: number, epoch: number, index: number): () => number {
  const words = keyWords([seed, epoch, index], 3);
  let a = words[0]!;
  let b = words[1]!;
  let c = words[2]!;
  let counter = 1;
  return () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
}
