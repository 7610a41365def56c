/**
 * Compares two strings by their UTF-8 bytes, as S3 orders keys. UTF-16 order, JavaScript's own, differs in one case only:
 * a surrogate (the pairs that encode U+10000 and up) must come after U+E000 … U+FFFF.
 */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates (D800 … DFFF) move above everything else, keeping their own order. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
