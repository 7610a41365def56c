/**
 * The main job, end to end: pictures drawn and written to an S3 bucket as TFRecord shards; a small TensorFlow.js model trained on them
 * through the loader; a stop in the middle of an epoch, and the resume in another process.
 *
 *   npm run demo                                           # everything built in
 *   npm run demo -- --endpoint http://host:7480 --bucket b # on a real S3
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs";
import { type Batch, type Dataset, type Epoch, type LoaderState, type Millrace, MillraceError, openMillrace } from "millrace";
import { CLASSES, SIZE, shardOf } from "./draw.js";
import { type Setting, setting } from "./options.js";
import { bar, count, facts, line, stateText, tableHead, tableRow, title } from "./report.js";
import { type ResumeOrder, readOrder } from "./resume.js";

const SHARDS = 16;
const BATCH = 128;
const FIELDS = { image: { dtype: "uint8", shape: [SIZE, SIZE] }, label: "int32" } as const;
const ORDER = { batchSize: BATCH, shuffle: { seed: 17 }, remainder: "drop" } as const;

type Shapes = Dataset<typeof FIELDS>;

async function writeShards(mill: Millrace, folder: string, samples: number): Promise<void> {
  const progress = bar("drawing", samples);
  for (let shard = 0; shard < SHARDS; shard++) {
    const [from, to] = [shard, shard + 1].map((n) => Math.floor((n * samples) / SHARDS)) as [number, number];
    const name = `train-${String(shard).padStart(5, "0")}-of-${String(SHARDS).padStart(5, "0")}.tfrecord`;
    await mill.writeFile(`${folder}/${name}`, shardOf(from, to));
    progress.update(to);
  }
  progress.stop();
}

function model(): tf.LayersModel {
  const net = tf.sequential({
    layers: [
      tf.layers.dense({
        inputShape: [SIZE * SIZE],
        units: 48,
        activation: "relu",
        kernelInitializer: tf.initializers.heNormal({ seed: 1 }),
      }),
      tf.layers.dense({ units: CLASSES.length, activation: "softmax", kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }) }),
    ],
  });
  net.compile({ optimizer: tf.train.adam(0.003), loss: "sparseCategoricalCrossentropy", metrics: ["accuracy"] });
  return net;
}

/** One training step; the batch's loss and accuracy. */
async function learn(net: tf.LayersModel, batch: Batch<typeof FIELDS>): Promise<[loss: number, accuracy: number]> {
  const { image, label } = batch.columns;
  const x = tf.tidy(() => tf.tensor2d(image.data, [batch.size, SIZE * SIZE], "int32").div<tf.Tensor2D>(255));
  const y = tf.tensor1d(Float32Array.from(label.data));
  const measured = (await net.trainOnBatch(x, y)) as [number, number];
  tf.dispose([x, y]);
  return measured;
}

async function trainEpoch(net: tf.LayersModel, epoch: Epoch<typeof FIELDS>) {
  const progress = bar(`epoch ${epoch.number}`, epoch.steps);
  const started = performance.now();
  let [waitedMs, loss, accuracy, samples] = [0, 0, 0, 0];
  let asked = started;
  for await (const batch of epoch) {
    waitedMs += performance.now() - asked;
    const [batchLoss, batchAccuracy] = await learn(net, batch);
    loss += batchLoss / epoch.steps;
    accuracy += batchAccuracy / epoch.steps;
    samples += batch.size;
    progress.update(batch.step + 1, { note: ` loss ${batchLoss.toFixed(3)}` });
    asked = performance.now();
  }
  progress.stop();
  return { epoch: epoch.number, loss, accuracy, samples, waitedMs, wallMs: performance.now() - started };
}

async function train(dataset: Shapes, { epochs, origin }: Setting): Promise<void> {
  const net = model();
  const loader = dataset.loader(ORDER);
  // The built-in origin is asked what it sent itself; of a real one, the loader says what came from there.
  tableHead(origin === undefined ? "from origin" : "origin sent");
  for (const epoch of loader.epochs(epochs)) {
    const before = loader.stats().bytes;
    await origin?.reset();
    const trained = await trainEpoch(net, epoch);
    const after = loader.stats().bytes;
    const originBytes = origin === undefined ? after.origin - before.origin : (await origin.stats()).bytesSent;
    tableRow({ ...trained, memoryBytes: after.memory - before.memory, originBytes });
  }
  await loader.close();
}

/** Stops in the middle of an epoch, goes on in a new process, and holds the order against that of an epoch without a stop. */
async function stopAndResume(dataset: Shapes, source: string, { s3, epochs: epoch }: Setting): Promise<void> {
  const unstopped = await readOrder(dataset.loader(ORDER), epoch);
  const stopped = dataset.loader(ORDER);
  const before: string[] = [];
  let state: LoaderState | undefined;
  for await (const batch of stopped.epoch(epoch)) {
    before.push(...batch.keys);
    state = batch.state;
    if (batch.step + 1 >= stopped.stepsPerEpoch / 2) break;
  }
  await stopped.close();
  console.log();
  line("stopped", `in epoch ${epoch}, after step ${before.length / BATCH} of ${stopped.stepsPerEpoch}`);
  line("state", stateText(state!));
  const { keys, pid } = await resumeElsewhere({ source, s3, options: { ...ORDER, resume: state }, epoch });
  const all = [...before, ...keys];
  const unchanged = all.length === unstopped.length && all.every((key, i) => key === unstopped[i]);
  const order = unchanged ? "the order is that of an epoch without a stop" : "THE ORDER BROKE";
  line("resumed", `in process ${pid}: ${count(before.length)} + ${count(keys.length)} samples, ${order}\n`);
  if (!unchanged) process.exitCode = 1;
}

/** The keys that another process gets from a state on. */
async function resumeElsewhere(request: ResumeOrder): Promise<{ keys: string[]; pid: number | undefined }> {
  const program = fileURLToPath(new URL("./resume.ts", import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, program, JSON.stringify(request)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the resuming process ended with code ${code}`);
  return { keys: JSON.parse(output) as string[], pid: child.pid };
}

async function demo(chosen: Setting): Promise<void> {
  const folder = `s3://${chosen.bucket}/shapes`;
  title("Millrace demo");
  line("origin", chosen.where);
  await using mill = await openMillrace({ s3: chosen.s3, cache: { memory: "256MiB" } });
  await writeShards(mill, folder, chosen.samples);
  line("written", `${count(chosen.samples)} drawn pictures of ${CLASSES.length} shapes, as TFRecord`);
  // Written through: the shards are in the cache now. A run that starts later finds it empty, and so does this one.
  await mill.evict(folder);
  const opened = performance.now();
  const dataset = await mill.dataset(folder, { fields: FIELDS });
  facts(dataset, performance.now() - opened);
  await mill.evict(folder); // What indexing read: epoch 0 shall show a cold start.
  await train(dataset, chosen);
  await stopAndResume(dataset, folder, chosen);
}

tf.enableProdMode(); // Without TensorFlow.js's advice to install its native package.
// The AWS SDK's advice on Node versions would stand in the middle of a progress bar.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
const chosen = await setting();
try {
  await demo(chosen);
} catch (error) {
  if (!(error instanceof MillraceError)) throw error;
  console.error(`\n${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await chosen.origin?.close();
}
