/**
 * The main job, end to end: pictures drawn and written to an S3 bucket as TFRecord shards; a small TensorFlow.js model trained on them
 * through the loader; a stop in the middle of an epoch, and the resume in another process.
 *
 *   npm run demo                                          # everything built in
 *   npm run demo -- --endpoint http://host:7480 --bucket b # on a real S3
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as tf from "@tensorflow/tfjs";
import { Presets, SingleBar } from "cli-progress";
import { type Dataset, type LoaderState, type Millrace, openMillrace } from "millrace";
import { CLASSES, SIZE, shardOf } from "./draw.js";
import { type Setting, setting } from "./options.js";
import { type ResumeOrder, readOrder } from "./resume.js";

const SHARDS = 16;
const BATCH = 128;
const SEED = 17;
const FIELDS = { image: { dtype: "uint8", shape: [SIZE, SIZE] }, label: "int32" } as const;
const PREFIX = "shapes";

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

function bar(what: string, total: number): SingleBar {
  const format = `  ${what.padEnd(9)} {bar} {percentage}%  {value}/{total} {note}`;
  const created = new SingleBar(
    { format, hideCursor: true, clearOnComplete: true, barsize: 28, noTTYOutput: false },
    Presets.shades_classic,
  );
  created.start(total, 0, { note: "" });
  return created;
}

async function writeShards(mill: Millrace, { bucket, samples }: Setting): Promise<void> {
  const progress = bar("drawing", samples);
  for (let shard = 0; shard < SHARDS; shard++) {
    const [from, to] = [shard, shard + 1].map((n) => Math.floor((n * samples) / SHARDS)) as [number, number];
    const name = `train-${String(shard).padStart(5, "0")}-of-${String(SHARDS).padStart(5, "0")}.tfrecord`;
    await mill.writeFile(`s3://${bucket}/${PREFIX}/${name}`, shardOf(from, to));
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

async function train(dataset: Dataset<typeof FIELDS>, { epochs, origin }: Setting): Promise<void> {
  const net = model();
  const loader = dataset.loader({ batchSize: BATCH, shuffle: { seed: SEED }, remainder: "drop" });
  console.log("\n  epoch     loss  accuracy  samples/s   stall   from memory   from origin   sent by the origin");
  for (const epoch of loader.epochs(epochs)) {
    const before = loader.stats();
    await origin?.reset();
    const progress = bar(`epoch ${epoch.number + 1}`, epoch.steps);
    const started = performance.now();
    let [waited, loss, accuracy, samples] = [0, 0, 0, 0];
    let asked = started;
    for await (const batch of epoch) {
      waited += performance.now() - asked;
      const x = tf.tidy(() => tf.tensor2d(batch.columns.image.data, [batch.size, SIZE * SIZE], "int32").div<tf.Tensor2D>(255));
      const y = tf.tensor1d(Float32Array.from(batch.columns.label.data));
      const [l, a] = (await net.trainOnBatch(x, y)) as [number, number];
      tf.dispose([x, y]);
      loss += l / epoch.steps;
      accuracy += a / epoch.steps;
      samples += batch.size;
      progress.update(batch.step + 1, { note: ` loss ${l.toFixed(3)}` });
      asked = performance.now();
    }
    progress.stop();
    const wall = performance.now() - started;
    const { bytes } = loader.stats();
    // The built-in origin counts what it sent, which is all that a bill knows of.
    const sent = origin === undefined ? undefined : (await origin.stats()).bytesSent;
    const columns = [
      String(epoch.number + 1).padStart(7),
      loss.toFixed(4).padStart(9),
      `${(100 * accuracy).toFixed(1)} %`.padStart(10),
      Math.round((1000 * samples) / wall)
        .toLocaleString("en")
        .padStart(11),
      `${((100 * waited) / wall).toFixed(1)} %`.padStart(8),
      megabytes(bytes.memory - before.bytes.memory).padStart(14),
      megabytes(bytes.origin - before.bytes.origin).padStart(14),
      (sent === undefined ? "not known" : megabytes(sent)).padStart(21),
    ];
    console.log(columns.join(""));
  }
  await loader.close();
}

/** Stops in the middle of an epoch, goes on in a new process, and holds the order against that of an epoch without a stop. */
async function stopAndResume(dataset: Dataset<typeof FIELDS>, { bucket, s3, epochs }: Setting): Promise<void> {
  const options = { batchSize: BATCH, shuffle: { seed: SEED }, remainder: "drop" } as const;
  const whole = await readOrder(dataset.loader(options), epochs);
  const stopped = dataset.loader(options);
  const before: string[] = [];
  let state: LoaderState | undefined;
  for await (const batch of stopped.epoch(epochs)) {
    before.push(...batch.keys);
    state = batch.state;
    if (batch.step + 1 >= stopped.stepsPerEpoch / 2) break;
  }
  await stopped.close();
  console.log(
    `\n  Stopped epoch ${epochs + 1} after step ${before.length / BATCH} of ${stopped.stepsPerEpoch}. The state: ${JSON.stringify(state).slice(0, 76)}…`,
  );
  const request: ResumeOrder = { source: `s3://${bucket}/${PREFIX}`, s3, options: { ...options, resume: state }, epoch: epochs };
  const child = spawn(process.execPath, [...process.execArgv, new URL("./resume.ts", import.meta.url).pathname, JSON.stringify(request)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number];
  if (code !== 0) throw new Error(`the resuming process ended with code ${code}`);
  const after = JSON.parse(output) as string[];
  const unbroken = [...before, ...after].every((key, i) => key === whole[i]) && before.length + after.length === whole.length;
  console.log(
    `  Resumed in process ${child.pid}: ${before.length} + ${after.length} samples, the order ${unbroken ? "went on unchanged" : "BROKE"}.`,
  );
  if (!unbroken) process.exitCode = 1;
}

const chosen = await setting();
try {
  console.log(`Millrace demo: ${chosen.samples.toLocaleString("en")} drawn pictures of ${CLASSES.length} shapes, on ${chosen.where}\n`);
  await using mill = await openMillrace({ s3: chosen.s3, cache: { memory: "256MiB" } });
  await writeShards(mill, chosen);
  // Written through: the shards are in the cache now. A run that starts later finds it empty, and so does this one.
  await mill.evict(`s3://${chosen.bucket}/${PREFIX}`);
  const opened = performance.now();
  const dataset = await mill.dataset(`s3://${chosen.bucket}/${PREFIX}`, { fields: FIELDS });
  console.log(
    `  ${dataset.shardCount} shards, ${dataset.sampleCount.toLocaleString("en")} samples, ${megabytes(dataset.byteLength)}; opened and indexed in ${Math.round(performance.now() - opened)} ms`,
  );
  await mill.evict(`s3://${chosen.bucket}/${PREFIX}`); // What indexing read: epoch 1 shall show a cold start.
  await train(dataset, chosen);
  await stopAndResume(dataset, chosen);
} finally {
  await chosen.origin?.close();
}
