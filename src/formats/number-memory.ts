/** Memory for the numbers of one feature, filled anew for each record: lists of one length, as most features have, make nothing new. */
export class NumberMemory {
  /** All of the memory. */
  bytes: Uint8Array = new Uint8Array(0);
  /** All of the memory, as the low and high halves of 64-bit numbers. */
  halves: Int32Array = new Int32Array(0);
  #floats = new Float32Array(0);
  #int64s = new BigInt64Array(0);

  /** The first `count` floats of the memory. */
  floats(count: number): Float32Array {
    this.#reserve(count * Float32Array.BYTES_PER_ELEMENT);
    if (this.#floats.length !== count) this.#floats = new Float32Array(this.bytes.buffer as ArrayBuffer, 0, count);
    return this.#floats;
  }

  /** The first `count` 64-bit numbers of the memory. */
  int64s(count: number): BigInt64Array {
    this.#reserve(count * BigInt64Array.BYTES_PER_ELEMENT);
    if (this.#int64s.length !== count) this.#int64s = new BigInt64Array(this.bytes.buffer as ArrayBuffer, 0, count);
    return this.#int64s;
  }

  #reserve(byteLength: number): void {
    if (byteLength <= this.bytes.length) return;
    // Twice as much as before, so that lists that grow a little each time cost little; whole 64-bit numbers.
    const buffer = new ArrayBuffer(Math.ceil(Math.max(byteLength, 2 * this.bytes.length) / 8) * 8);
    this.bytes = new Uint8Array(buffer);
    this.halves = new Int32Array(buffer);
    // Views of the memory before.
    this.#floats = new Float32Array(0);
    this.#int64s = new BigInt64Array(0);
  }
}
