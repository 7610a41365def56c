import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { columnTensor, tfDataset } from "../../../src/adapters/tfjs.js";
import type { Batch, Loader } from "../../../src/api.js";
import { fakeBatch, fakeLoader, tensor } from "./fake-loader.js";

/** Two rows a batch; x tells epoch and step, y is its double. */
function columns(epoch: number, step: number) {
  const x = epoch * 100 + step;
  return {
    x: tensor("float32", [2, 1], new Float32Array([x, x + 0.5])),
    y: tensor("float32", [2, 1], new Float32Array([2 * x, 2 * x + 1])),
  };
}
type Named = Loader<{ x: "float32"; y: "float32" }>;

function linearModel(): tf.Sequential {
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [1], kernelInitializer: "zeros" })] });
  model.compile({ optimizer: tf.train.sgd(1e-6), loss: "meanSquaredError" });
  return model;
}

beforeAll(async () => {
  await tf.setBackend("cpu");
});
afterEach(() => tf.disposeVariables());

describe("tfDataset with fitDataset", () => {
  it("gives one loader epoch an epoch, in order, and begins none for the iterator that is never pulled", async () => {
    const { loader, account } = fakeLoader({ steps: 3, columns });
    const seen: number[] = [];
    const sizes: (number | undefined)[] = [];
    await linearModel().fitDataset(tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y" }), {
      epochs: 2,
      verbose: 0,
      callbacks: { onBatchEnd: async (batch) => void seen.push(batch), onTrainBegin: async () => void sizes.push(loader.stepsPerEpoch) },
    });
    expect(seen).toEqual([0, 1, 2, 0, 1, 2]);
    expect(account.begun).toEqual(["0:0", "1:0"]);
    expect(account.ended).toEqual([0, 1]);
  });

  it("runs one iterator through several loader epochs where fitDataset is given batchesPerEpoch", async () => {
    const { loader, account } = fakeLoader({ steps: 4, columns });
    await linearModel().fitDataset(tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y", epochs: 2 }), {
      epochs: 4,
      batchesPerEpoch: 2,
      verbose: 0,
    });
    expect(account.begun).toEqual(["0:0", "1:0"]);
    expect(loader.position).toEqual({ epoch: 2, step: 0 });
  });

  it("asks the loader for epochs up to `until`, takes one an iterator, and ends there", async () => {
    const { loader, account } = fakeLoader({ steps: 2, columns });
    const asked: number[] = [];
    const epochs = loader.epochs.bind(loader);
    loader.epochs = (until) => {
      asked.push(until);
      return epochs(until);
    };
    const dataset = tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y", until: 2 });
    await linearModel().fitDataset(dataset, { epochs: 2, verbose: 0 });
    expect(asked).toEqual([2, 2]);
    expect(account.begun).toEqual(["0:0", "1:0"]);
    expect((await (await dataset.iterator()).next()).done).toBe(true);
  });

  it("repeats the same validation epoch from its start, also after one that was broken off", async () => {
    const train = fakeLoader({ steps: 2, columns });
    const val = fakeLoader({ steps: 3, columns, position: { epoch: 7, step: 0 } });
    await linearModel().fitDataset(tfDataset(tf, train.loader as unknown as Named, { xs: "x", ys: "y" }), {
      epochs: 3,
      verbose: 0,
      validationData: tfDataset(tf, val.loader as unknown as Named, { xs: "x", ys: "y", repeat: true }),
      validationBatches: 2,
    });
    expect(train.account.begun).toEqual(["0:0", "1:0", "2:0"]);
    expect(val.account.begun).toEqual(["7:0", "7:0", "7:0"]);
    expect(val.account.ended).toEqual([7, 7]);
  });

  it("goes on where a resumed loader stands", async () => {
    const { loader, account } = fakeLoader({ steps: 4, columns, position: { epoch: 5, step: 3 } });
    const seen: number[] = [];
    const xs = (batch: Batch<{ x: "float32"; y: "float32" }>) => {
      seen.push(batch.step);
      return columnTensor(tf, batch, "x");
    };
    const dataset = tfDataset(tf, loader as unknown as Named, { xs, ys: "y" });
    await linearModel().fitDataset(dataset, { epochs: 2, verbose: 0 });
    expect(account.begun).toEqual(["5:3", "6:0"]);
    expect(seen).toEqual([3, 0, 1, 2, 3]);
  });

  it("leaves no tensor behind, and rejects with the loader's error", async () => {
    const { loader } = fakeLoader({ steps: 4, columns, failAt: 2 });
    const model = linearModel();
    const dataset = tfDataset(tf, loader as unknown as Named, {
      xs: (batch, tf) => tf.add(tf.mul(columnTensor(tf, batch, "x"), 2), 1),
      ys: "y",
    });
    const iterator = await dataset.iterator();
    const before = tf.memory().numTensors;
    const first = await iterator.next();
    expect(tf.memory().numTensors).toBe(before + 2);
    tf.dispose(first.value as never);
    expect(tf.memory().numTensors).toBe(before);
    await iterator.return();
    await expect(model.fitDataset(dataset, { epochs: 1, verbose: 0 })).rejects.toThrow("the origin is gone");
  });

  it("takes several inputs by name and by order", async () => {
    const { loader } = fakeLoader({ steps: 1, columns });
    const dataset = tfDataset(tf, loader as unknown as Named, {
      xs: { a: "x", b: (batch) => columnTensor(tf, batch, "y") },
      ys: ["y", "x"],
    });
    const { value } = await (await dataset.iterator()).next();
    const { xs, ys } = value as { xs: Record<string, tf.Tensor>; ys: tf.Tensor[] };
    expect(Object.keys(xs)).toEqual(["a", "b"]);
    expect([...xs.b!.dataSync()]).toEqual([0, 1]);
    expect(ys.map((t) => [...t.dataSync()])).toEqual([
      [0, 1],
      [0, 0.5],
    ]);
  });
});

describe("tfDataset's iterators", () => {
  it("closes the one before at the first pull of the next, and an old one asked again closes nothing", async () => {
    const { loader, account } = fakeLoader({ steps: 3, columns });
    const dataset = tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y" });
    const [first, second] = [await dataset.iterator(), await dataset.iterator()];
    await first.next();
    expect(account.ended).toEqual([]);
    expect((await second.next()).done).toBe(false);
    expect(account.ended).toEqual([0]);
    expect(account.begun).toEqual(["0:0", "0:1"]);
    expect((await first.next()).done).toBe(true);
    expect((await second.next()).done).toBe(false);
    expect((await second.next()).done).toBe(true);
  });

  it("can be returned before and after the first pull", async () => {
    const { loader, account } = fakeLoader({ steps: 3, columns });
    const dataset = tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y" });
    await (await dataset.iterator()).return();
    expect(account.begun).toEqual([]);
    const iterator = await dataset.iterator();
    await iterator.next();
    await iterator.return();
    expect(account.ended).toEqual([0]);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it("passes over a batch whose samples were all skipped", async () => {
    const { loader } = fakeLoader({
      steps: 3,
      columns: (epoch, step) =>
        step === 1
          ? { x: tensor("float32", [0, 1], new Float32Array()), y: tensor("float32", [0, 1], new Float32Array()) }
          : columns(epoch, step),
    });
    const iterator = await tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y" }).iterator();
    const first: number[] = [];
    for (let next = await iterator.next(); !next.done; next = await iterator.next())
      first.push((next.value.xs as tf.Tensor).dataSync()[0]!);
    expect(first).toEqual([0, 2]);
  });

  it("refuses epochs that are no whole number above 0", () => {
    const { loader } = fakeLoader({ steps: 1, columns });
    for (const epochs of [0, -1, 1.5, Number.NaN])
      expect(() => tfDataset(tf, loader as unknown as Named, { xs: "x", ys: "y", epochs })).toThrow(
        expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining("epochs") }),
      );
  });
});

describe("batch memory", () => {
  async function releasedWith(xs: "x" | (() => tf.Tensor), y: "f" | "u"): Promise<number[]> {
    const { loader, account } = fakeLoader({
      steps: 1,
      columns: () => ({
        x: tensor("uint8", [2], new Uint8Array([1, 2])),
        f: tensor("float32", [2], new Float32Array([1, 2])),
        u: tensor("int64", [2], new BigInt64Array([1n, 2n])),
      }),
    });
    await (await tfDataset(tf, loader as unknown as Loader<{ x: "uint8"; f: "float32"; u: "int64" }>, { xs, ys: y }).iterator()).next();
    return account.released;
  }

  it("goes back for reuse where every tensor is a copy, and never where a tensor may still hold it", async () => {
    expect(await releasedWith("x", "u")).toEqual([0]);
    expect(await releasedWith("x", "f")).toEqual([]);
    expect(await releasedWith(() => tf.tensor([1, 2]), "u")).toEqual([]);
  });
});

describe("columnTensor", () => {
  it.each([
    ["float32", new Float32Array([0.5, -1]), "float32", [0.5, -1]],
    ["float64", new Float64Array([0.5, -1]), "float32", [0.5, -1]],
    ["uint8", new Uint8Array([0, 255]), "int32", [0, 255]],
    ["int8", new Int8Array([-128, 127]), "int32", [-128, 127]],
    ["uint16", new Uint16Array([0, 65535]), "int32", [0, 65535]],
    ["int16", new Int16Array([-32768, 7]), "int32", [-32768, 7]],
    ["int32", new Int32Array([-5, 5]), "int32", [-5, 5]],
    ["uint32", new Uint32Array([0, 2 ** 31 - 1]), "int32", [0, 2 ** 31 - 1]],
    ["int64", new BigInt64Array([-(2n ** 31n), 3n]), "int32", [-(2 ** 31), 3]],
    ["uint64", new BigUint64Array([0n, 9n]), "int32", [0, 9]],
  ] as const)("makes %s fit what TensorFlow.js has", (dtype, data, expected, values) => {
    const made = columnTensor(tf, fakeBatch({ c: tensor(dtype, [2, 1], data as never) }, 2), "c" as never);
    expect(made.dtype).toBe(expected);
    expect(made.shape).toEqual([2, 1]);
    expect([...made.dataSync()]).toEqual(values);
  });

  it.each([
    ["uint32", new Uint32Array([1, 1, 2 ** 31, 1])],
    ["int64", new BigInt64Array([1n, 1n, -(2n ** 31n) - 1n, 1n])],
    ["uint64", new BigUint64Array([1n, 1n, 2n ** 63n, 1n])],
  ] as const)("names the sample whose %s value int32 cannot hold", (dtype, data) => {
    expect(() => columnTensor(tf, fakeBatch({ c: tensor(dtype, [2, 2], data as never) }, 2), "c" as never)).toThrow(
      expect.objectContaining({ code: "MILLRACE_FORMAT", sample: { key: "key-1", index: 101 } }),
    );
  });

  it("says what to do about a column that is missing or no tensor", async () => {
    const bytes = { kind: "bytes", values: new Uint8Array(), offsets: new Float64Array(1), at: () => new Uint8Array() } as const;
    const { loader } = fakeLoader({ steps: 1, columns: (e, s) => ({ ...columns(e, s), raw: bytes }) });
    const ask = async (ys: string) =>
      (await tfDataset(tf, loader as unknown as Named, { xs: "x", ys: { out: ys as never } }).iterator()).next();
    await expect(ask("label")).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: 'ys.out: there is no column "label"; the columns are x, y, raw',
    });
    const again = fakeLoader({ steps: 1, columns: (e, s) => ({ ...columns(e, s), raw: bytes }) });
    const iterator = await tfDataset(tf, again.loader as unknown as Named, { xs: ["x", "raw" as never], ys: "y" }).iterator();
    await expect(iterator.next()).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/^xs\[1\]: column "raw" is bytes, not a tensor/),
    });
    expect(again.account.ended).toEqual([0]);
  });
});
