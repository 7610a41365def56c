import { GlobalOrder, SequentialOrder } from "./flat-orders.js";
import type { EpochSequence, OrderWindow } from "./order-window.js";
import type { OrderSpec } from "./spec.js";
import { WindowOrder } from "./window-order.js";

export type { OrderWindow } from "./order-window.js";

/** The order of one epoch: a bijection from positions to samples, and the windows that it needs one after the other. */
export class EpochOrder implements EpochSequence {
  readonly spec: OrderSpec;
  readonly epoch: number;
  readonly sampleCount: number;
  readonly #sequence: EpochSequence;

  constructor(spec: OrderSpec, epoch: number) {
    this.spec = spec;
    this.epoch = epoch;
    this.sampleCount = spec.chunks.sampleCount;
    this.#sequence = sequenceOf(spec, epoch);
  }

  /** The sample at a position, 0 ≤ position < sampleCount. O(1); O(log chunks) for ragged ones. Cheapest in rising order. */
  sampleAt(position: number): number {
    return this.#sequence.sampleAt(position);
  }

  /** The windows of all lanes, by the first position from `fromPosition` on that they hold; made one at a time, as asked for. */
  windows(fromPosition: number): Iterable<OrderWindow> {
    return this.#sequence.windows(fromPosition);
  }
}

function sequenceOf(spec: OrderSpec, epoch: number): EpochSequence {
  if (spec.mode === "window") return new WindowOrder(spec, epoch);
  return spec.mode === "global" ? new GlobalOrder(spec, epoch) : new SequentialOrder(spec);
}
