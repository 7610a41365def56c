/** The samples 0 … sampleCount−1 cut into consecutive chunks: the unit of shuffling. */
export interface Chunks {
  readonly sampleCount: number;
  readonly count: number;
  /** First sample of the chunk. */
  first(chunk: number): number;
  /** Samples in the chunk. */
  size(chunk: number): number;
  /** The chunk that holds the sample. */
  of(sample: number): number;
  /** Samples of every chunk but the last; undefined where chunks differ in size. */
  readonly uniformSize: number | undefined;
}

/** Chunks of `chunkSamples` samples; the last one may be shorter. */
export function uniformChunks(sampleCount: number, chunkSamples: number): Chunks {
  return {
    sampleCount,
    count: Math.ceil(sampleCount / chunkSamples),
    uniformSize: chunkSamples,
    first: (chunk) => chunk * chunkSamples,
    size: (chunk) => Math.min(chunkSamples, sampleCount - chunk * chunkSamples),
    of: (sample) => Math.floor(sample / chunkSamples),
  };
}

/** Chunks of any size, as compressed shards make them. `starts` has the first sample of each, and the sample count at its end. */
export function raggedChunks(starts: Float64Array): Chunks {
  return {
    sampleCount: starts[starts.length - 1] ?? 0,
    count: Math.max(0, starts.length - 1),
    uniformSize: undefined,
    first: (chunk) => starts[chunk]!,
    size: (chunk) => starts[chunk + 1]! - starts[chunk]!,
    of: (sample) => lastAtOrBelow(starts, sample),
  };
}

/** Index of the last element ≤ `value` of an ascending list whose first element is. Empty ranges (equal neighbours) are passed over. */
export function lastAtOrBelow(ascending: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = ascending.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! <= value) low = middle;
    else high = middle;
  }
  return low;
}
