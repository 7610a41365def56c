/**
 * tfjs-data as its documentation shows it: samples mapped by fetch, `prefetch` keeping 8 under way, batched, one batch prefetched. Without
 * a GPU, so a batch is an int32 tensor in memory: tfjs has no other integers.
 */
import * as tf from "@tensorflow/tfjs";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

export interface TfjsDataParameters {
  readonly endpoint: string;
  /** `/bucket/key` of each sample. */
  readonly paths: readonly string[];
  /** Of these, so many are read first, so that no code is timed while it is being compiled. */
  readonly warmUp: number;
  readonly batchSize: number;
}

const IN_FLIGHT = 8;
const given = parameters<TfjsDataParameters>();
tf.enableProdMode();
await tf.setBackend("cpu");

async function fetchSample(path: string): Promise<tf.Tensor1D> {
  const response = await fetch(`${given.endpoint}${path}`);
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return tf.tensor1d(new Uint8Array(await response.arrayBuffer()), "int32");
}

async function readAll(paths: readonly string[]): Promise<Read> {
  const tally = new Tally();
  const samples = tf.data
    .array([...paths])
    .mapAsync(fetchSample)
    .prefetch(IN_FLIGHT);
  await samples
    .batch(given.batchSize)
    .prefetch(1)
    .forEachAsync((container) => {
      const batch = container as tf.Tensor2D;
      const values = batch.dataSync();
      for (let row = 0; row < batch.shape[0]; row++) tally.add(values, row * batch.shape[1], (row + 1) * batch.shape[1]);
      batch.dispose();
    });
  return tally;
}

await readAll(given.paths.slice(0, given.warmUp));
report({ cold: await measure(() => readAll(given.paths)) });
