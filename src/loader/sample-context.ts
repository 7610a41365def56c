/** What a decoder is told of the sample it has: made once a sample, its dear parts only when they are asked for. */
import type { SampleContext } from "../api.js";
import { sampleRandom } from "../order/random.js";

export class DecodeContext implements SampleContext<unknown> {
  readonly key: string;
  readonly index: number;
  readonly epoch: number;
  readonly args: unknown;
  readonly #seed: number;
  #draw: (() => number) | undefined;
  #controller: AbortController | undefined;
  #ended: { readonly reason: unknown } | undefined;

  constructor(key: string, index: number, epoch: number, seed: number, args: unknown) {
    this.key = key;
    this.index = index;
    this.epoch = epoch;
    this.args = args;
    this.#seed = seed;
    // Decoders may take it out of the context: `({ random }) => …`.
    this.random = this.random.bind(this);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#ended !== undefined) this.#controller.abort(this.#ended.reason);
    }
    return this.#controller.signal;
  }

  random(): number {
    this.#draw ??= sampleRandom(this.#seed, this.epoch, this.index);
    return this.#draw();
  }

  /** Fires the signal. */
  abort(reason: unknown): void {
    this.#ended = { reason };
    this.#controller?.abort(reason);
  }
}
