import { ChunkWindow, type EpochSequence, type OrderWindow, SampleWindow } from "./order-window.js";
import { type Permutation, PURPOSE, permutation } from "./prp.js";
import type { OrderSpec } from "./spec.js";

/** One permutation over all samples. Its windows are the next `windowChunks` positions, for fetching ahead: they change nothing of the order. */
export class GlobalOrder implements EpochSequence {
  readonly #shuffle: Permutation;
  readonly #windowSamples: number;

  constructor(spec: OrderSpec, epoch: number) {
    this.#shuffle = permutation(spec.chunks.sampleCount, [spec.seed, epoch, PURPOSE.samples]);
    this.#windowSamples = spec.windowChunks;
  }

  sampleAt(position: number): number {
    return this.#shuffle.at(position);
  }

  *windows(fromPosition: number): Generator<OrderWindow, void, undefined> {
    const step = this.#windowSamples;
    if (fromPosition >= this.#shuffle.size) return; // Its last window may hold earlier positions, but none from here on.
    for (let first = Math.floor(fromPosition / step) * step; first < this.#shuffle.size; first += step) {
      const samples = new Float64Array(Math.min(step, this.#shuffle.size - first));
      for (let i = 0; i < samples.length; i++) samples[i] = this.#shuffle.at(first + i);
      yield new SampleWindow(first, samples);
    }
  }
}

/** The manifest's order; its windows are single chunks. */
export class SequentialOrder implements EpochSequence {
  readonly #spec: OrderSpec;

  constructor(spec: OrderSpec) {
    this.#spec = spec;
  }

  sampleAt(position: number): number {
    return position;
  }

  *windows(fromPosition: number): Generator<OrderWindow, void, undefined> {
    const { chunks } = this.#spec;
    if (fromPosition >= chunks.sampleCount) return;
    for (let chunk = chunks.of(fromPosition); chunk < chunks.count; chunk++) {
      const first = chunks.first(chunk);
      const count = chunks.size(chunk);
      if (count > 0) yield new ChunkWindow({ lane: 0, lanes: 1, firstPosition: first }, [{ first, count }], count, undefined);
    }
  }
}
