/** One batch, made into tensors again and again on the main thread: by the adapters, and by hand from the same memory. */
import type * as Tf from "@tensorflow/tfjs";
import { feeds } from "../../src/adapters/onnx.js";
import { tfDataset } from "../../src/adapters/tfjs.js";
import { type Batch, type Epoch, type Loader, openMillrace } from "../../src/index.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report, timed } from "../lib/subject.js";

export interface TensorsParameters {
  readonly way: "millrace/tfjs" | "tf.tensor" | "millrace/onnx" | "ort.Tensor";
  readonly batchSize: number;
  /** Of one sample. */
  readonly shape: readonly number[];
  readonly times: number;
}
type Columns = { readonly bytes: { readonly dtype: "uint8" | "float32"; readonly shape: readonly number[] }; readonly label: "int32" };

const given = parameters<TensorsParameters>();
const elements = given.shape.reduce((product, size) => product * size, 1);

/** Sample i is an image all of value i, its label 0. */
async function makeBatch(dtype: "uint8" | "float32"): Promise<Batch<Columns>> {
  await using mill = await openMillrace({ cache: { memory: 0 } });
  for (let i = 0; i < given.batchSize; i++) {
    const image = dtype === "uint8" ? new Uint8Array(elements).fill(i) : new Uint8Array(new Float32Array(elements).fill(i).buffer);
    await mill.writeFile(`memory://images/a/${String(i).padStart(4, "0")}.bin`, image);
  }
  const fields = { bytes: { dtype, shape: given.shape }, label: "int32" } as const;
  const dataset = await mill.dataset("memory://images", { fields });
  for await (const batch of dataset.loader({ batchSize: given.batchSize }).epoch(0)) return batch as Batch<Columns>;
  throw new Error("the dataset has no batch");
}

/** A loader whose only epoch is this batch, so many times. */
function repeating(batch: Batch<Columns>, times: number): Loader<Columns> {
  async function* batches() {
    for (let i = 0; i < times; i++) yield batch;
  }
  const epoch: Epoch<Columns> = { number: 0, steps: times, firstStep: 0, [Symbol.asyncIterator]: batches };
  const loader: Pick<Loader<Columns>, "stepsPerEpoch" | "position" | "epochs"> = {
    stepsPerEpoch: times,
    position: { epoch: 0, step: 0 },
    epochs: () => [epoch],
  };
  return loader as Loader<Columns>;
}

/** Makes the tensors `times` times; resolves to what the last one of the images holds. */
type Way = (batch: Batch<Columns>, times: number) => Promise<ArrayLike<number>>;

async function tensorflowWay(adapter: boolean): Promise<Way> {
  const tf = await import("@tensorflow/tfjs");
  await tf.setBackend("cpu");
  const byHand = ({ columns: { bytes, label } }: Batch<Columns>) => ({
    xs: tf.tensor(bytes.data, [...bytes.shape], bytes.dtype === "uint8" ? "int32" : "float32"),
    ys: tf.tensor(label.data, [...label.shape], "int32"),
  });
  return async (batch, times) => {
    const iterator = await tfDataset(tf, repeating(batch, times), { xs: "bytes", ys: "label" }).iterator();
    for (let i = 1; ; i++) {
      const { xs, ys } = adapter ? ((await iterator.next()).value as { xs: Tf.Tensor; ys: Tf.Tensor }) : byHand(batch);
      const last = i === times ? xs.dataSync() : undefined;
      tf.dispose([xs, ys]);
      if (last !== undefined) return last;
    }
  };
}

async function onnxWay(adapter: boolean): Promise<Way> {
  const ort = await import("onnxruntime-node");
  const byHand = ({ columns: { bytes, label } }: Batch<Columns>) => ({
    image: new ort.Tensor(bytes.dtype, bytes.data as never, bytes.shape),
    label: new ort.Tensor("int32", label.data, label.shape),
  });
  return async (batch, times) => {
    for (let i = 1; ; i++) {
      const { image } = adapter ? feeds(ort, batch, { image: "bytes", label: "label" }) : byHand(batch);
      if (i === times) return image!.data as ArrayLike<number>;
    }
  };
}

const ways: Record<TensorsParameters["way"], () => Promise<Way>> = {
  "millrace/tfjs": () => tensorflowWay(true),
  "tf.tensor": () => tensorflowWay(false),
  "millrace/onnx": () => onnxWay(true),
  "ort.Tensor": () => onnxWay(false),
};
/** Compiles the code, and touches the memory that each tensor takes. */
const WARM_UP_SHARE = 1 / 4;

async function measureOf(make: Way, dtype: "uint8" | "float32"): Promise<Figures> {
  const batch = await makeBatch(dtype);
  await make(batch, Math.ceil(given.times * WARM_UP_SHARE));
  gc!();
  const { result, wallSeconds, cpuSeconds } = await timed(() => make(batch, given.times));
  let firstElements = 0;
  for (let row = 0; row < batch.size; row++) firstElements += result[row * elements]!;
  const perBatch = 1000 / given.times;
  return { elements: result.length, firstElements, wallMs: wallSeconds * perBatch, cpuMs: cpuSeconds * perBatch };
}

const make = await ways[given.way]();
report({ uint8: await measureOf(make, "uint8"), float32: await measureOf(make, "float32") });
