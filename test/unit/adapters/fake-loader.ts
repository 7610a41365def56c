import type { Batch, Column, DType, Epoch, Loader, LoaderState, TensorColumn } from "../../../src/api.js";

export type Columns = Record<string, Column>;
type Made = Record<string, never>;

export function tensor<D extends DType>(dtype: D, shape: number[], data: TensorColumn<D>["data"]): TensorColumn<D> {
  return { kind: "tensor", dtype, shape, data };
}

/** What a test may look at: which epochs were begun and ended, and which batches were given back. */
export interface Account {
  readonly begun: string[];
  readonly ended: number[];
  readonly released: number[];
}

export interface FakeLoaderOptions {
  readonly steps: number;
  readonly position?: { epoch: number; step: number };
  readonly columns: (epoch: number, step: number) => Columns;
  readonly failAt?: number;
}

export function fakeBatch(columns: Columns, size: number, epoch = 0, step = 0, onRelease: () => void = () => {}): Batch<Made> {
  return {
    epoch,
    step,
    size,
    padding: 0,
    keys: Array.from({ length: size }, (_, i) => `key-${i}`),
    indices: Float64Array.from({ length: size }, (_, i) => i + 100),
    columns: columns as never,
    state: { version: 1, fingerprint: "", order: "", epoch, position: step } satisfies LoaderState,
    samples: () => [],
    release: onRelease,
    [Symbol.dispose]: onRelease,
  };
}

/** A loader in memory that keeps its position as the real one does, and an account of what was asked of it. */
export function fakeLoader(options: FakeLoaderOptions): { loader: Loader<Made>; account: Account } {
  const account: Account = { begun: [], ended: [], released: [] };
  let position = options.position ?? { epoch: 0, step: 0 };
  function epoch(number: number, firstStep: number): Epoch<Made> {
    async function* batches(): AsyncGenerator<Batch<Made>> {
      account.begun.push(`${number}:${firstStep}`);
      try {
        for (let step = firstStep; step < options.steps; step++) {
          if (step === options.failAt) throw new Error("the origin is gone");
          position = step + 1 < options.steps ? { epoch: number, step: step + 1 } : { epoch: number + 1, step: 0 };
          const columns = options.columns(number, step);
          const first = Object.values(columns)[0]!;
          const rows = first.kind === "tensor" ? first.shape[0]! : 1;
          yield fakeBatch(columns, rows, number, step, () => account.released.push(step));
        }
      } finally {
        account.ended.push(number);
      }
    }
    return { number, steps: options.steps, firstStep, [Symbol.asyncIterator]: batches };
  }
  const loader: Loader<Made> = {
    stepsPerEpoch: options.steps,
    get position() {
      return position;
    },
    epoch: (n) => epoch(n, 0),
    *epochs(until) {
      while (position.epoch < until) yield epoch(position.epoch, position.step);
    },
    state: () => ({ version: 1, fingerprint: "", order: "", epoch: position.epoch, position: position.step }),
    stats: () => {
      throw new Error("not part of this fake");
    },
    close: async () => {},
  };
  return { loader, account };
}
