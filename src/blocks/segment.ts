/** One stretch of shared memory, cut into units; a slot is a run of them. */
export class Segment {
  readonly buffer: SharedArrayBuffer;
  /** 1 where the unit is taken. */
  readonly #taken: Uint8Array;
  readonly #unit: number;
  /** No free unit lies before it. */
  #lowest = 0;
  /** No unit from here on was ever used. */
  #unused = 0;
  /** No free run is longer: keeps a crowded segment from being searched again and again. */
  #longest: number;

  constructor(units: number, unit: number) {
    this.buffer = new SharedArrayBuffer(units * unit);
    this.#taken = new Uint8Array(units);
    this.#unit = unit;
    this.#longest = units;
  }

  get bytes(): number {
    return this.buffer.byteLength;
  }

  /** First unit of a free run of `units`, now taken; -1 where there is none. Lowest address first keeps the free space in one piece. */
  take(units: number): number {
    if (units > this.#longest) return -1;
    const total = this.#taken.length;
    let longest = 0;
    for (let at = this.#taken.indexOf(0, this.#lowest); at !== -1; ) {
      if (longest === 0) this.#lowest = at;
      const next = this.#taken.indexOf(1, at);
      const end = next === -1 ? total : next;
      if (end - at >= units) {
        this.#taken.fill(1, at, at + units);
        if (at === this.#lowest) this.#lowest = at + units;
        return at;
      }
      longest = Math.max(longest, end - at);
      at = next === -1 ? -1 : this.#taken.indexOf(0, next);
    }
    this.#longest = longest;
    return -1;
  }

  give(first: number, units: number): void {
    this.#taken.fill(0, first, first + units);
    this.#lowest = Math.min(this.#lowest, first);
    // The freed run may have joined its neighbours: the next search finds out how long it is.
    this.#longest = this.#taken.length;
  }

  /** A taken run is going to be used. True where some of its memory never was. */
  use(first: number, units: number): boolean {
    const fresh = first + units > this.#unused;
    if (fresh) this.#unused = first + units;
    return fresh;
  }

  view(first: number, skip: number, length: number): Uint8Array {
    return new Uint8Array(this.buffer, first * this.#unit + skip, length);
  }
}
