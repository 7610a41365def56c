/** Numbers and strings packed on SharedArrayBuffers: one copy for all threads, and nothing for the garbage collector to walk. */

export type Numbers = Uint32Array<SharedArrayBuffer> | Float64Array<SharedArrayBuffer>;

const UINT32_END = 2 ** 32;

/** Zeroed numbers, 4 bytes each where `max` allows it, else 8 (exact to 2^53). */
export function sharedNumbers(length: number, max: number): Numbers {
  return max < UINT32_END
    ? new Uint32Array(new SharedArrayBuffer(length * Uint32Array.BYTES_PER_ELEMENT))
    : new Float64Array(new SharedArrayBuffer(length * Float64Array.BYTES_PER_ELEMENT));
}

/** UTF-8 bytes end to end; string i is bytes `offsets[i]` to `offsets[i + 1]`. */
export interface PackedStrings {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly offsets: Numbers;
}

/** `at(i)` is called twice for each i: once to measure, once to write. */
export function packStrings(count: number, at: (i: number) => string): PackedStrings {
  let total = 0;
  for (let i = 0; i < count; i++) total += Buffer.byteLength(at(i));
  const bytes = new Uint8Array(new SharedArrayBuffer(total));
  const offsets = sharedNumbers(count + 1, total);
  const target = Buffer.from(bytes.buffer);
  let position = 0;
  for (let i = 0; i < count; i++) {
    position += target.write(at(i), position);
    offsets[i + 1] = position;
  }
  return { bytes, offsets };
}

/** Reads strings back. Buffer, because TextDecoder refuses shared memory. */
export class StringReader {
  readonly #buffer: Buffer<SharedArrayBuffer>;
  readonly #offsets: Numbers;

  constructor(packed: PackedStrings) {
    this.#buffer = Buffer.from(packed.bytes.buffer);
    this.#offsets = packed.offsets;
  }

  at(i: number): string {
    return this.#buffer.toString("utf8", this.#offsets[i], this.#offsets[i + 1]);
  }
}
