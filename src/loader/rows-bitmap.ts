const WORD_BITS = 32;
const BLOCK_WORDS = 16; // a count every 512 bits: 1.5 % on top of the bits, and at most 16 words to look through

/** A set of row numbers with rank and select: n/8 bytes and an index. Change it with `toggle`, then `seal` it. */
export class RowBitmap {
  readonly #words: Uint32Array;
  /** Rows in the blocks before each block, and all of them at the end. */
  readonly #before: Float64Array;

  /** A set of no rows, or of all of them. */
  constructor(size: number, full: boolean) {
    this.#words = new Uint32Array(Math.ceil(size / WORD_BITS)).fill(full ? 0xffffffff : 0);
    this.#before = new Float64Array(Math.ceil(this.#words.length / BLOCK_WORDS) + 1);
  }

  get memoryBytes(): number {
    return this.#words.byteLength + this.#before.byteLength;
  }

  toggle(row: number): void {
    const word = Math.floor(row / WORD_BITS);
    this.#words[word] = this.#words[word]! ^ (1 << (row % WORD_BITS));
  }

  /** Counts the rows; `rank` and `select` are right from then on. */
  seal(): this {
    for (let block = 0; block + 1 < this.#before.length; block++) {
      let count = this.#before[block]!;
      for (const word of this.#words.subarray(block * BLOCK_WORDS, (block + 1) * BLOCK_WORDS)) count += ones(word);
      this.#before[block + 1] = count;
    }
    return this;
  }

  /** How many of the set's rows are < `row`. */
  rank(row: number): number {
    const word = Math.floor(row / WORD_BITS);
    const block = Math.floor(word / BLOCK_WORDS);
    let count = this.#before[block]!;
    for (let w = block * BLOCK_WORDS; w < word; w++) count += ones(this.#words[w]!);
    const bit = row % WORD_BITS;
    return bit === 0 ? count : count + ones(this.#words[word]! & ((1 << bit) - 1));
  }

  /** The set's i-th row, in rising order. */
  select(i: number): number {
    let low = 0;
    let high = this.#before.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#before[middle]! <= i) low = middle;
      else high = middle;
    }
    let rest = i - this.#before[low]!;
    let word = low * BLOCK_WORDS;
    for (let count = ones(this.#words[word]!); rest >= count; count = ones(this.#words[word]!)) {
      rest -= count;
      word++;
    }
    let bits = this.#words[word]!;
    for (; rest > 0; rest--) bits &= bits - 1; // clears the lowest bit
    return word * WORD_BITS + 31 - Math.clz32(bits & -bits);
  }
}

/** How many bits of a word are set. */
function ones(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
