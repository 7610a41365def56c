/**
 * Trains a small TensorFlow.js model by `model.fitDataset`, with a validation split.
 *
 *   npx tsx examples/train-tfjs/main.ts
 */
import * as tf from "@tensorflow/tfjs";
import { type Batch, openMillrace } from "millrace";
import { columnTensor, tfDataset } from "millrace/tfjs";
import { randomFrom } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";

const SIDE = 8;
const EPOCHS = 3;
const CLASSES = ["horizontal", "vertical"];
// Raw uint8 pixels become a tensor column of shape [rows, 8, 8, 1].
const fields = { img: { dtype: "uint8", shape: [SIDE, SIDE, 1] }, cls: "int32" } as const;

/** A noisy picture of 8 × 8 grey pixels with one bright bar that lies (class 0) or stands (class 1). */
function drawBar(label: number, random: () => number): Uint8Array {
  const pixels = Uint8Array.from({ length: SIDE * SIDE }, () => random() * 120);
  const where = Math.floor(random() * SIDE);
  for (let i = 0; i < SIDE; i++) pixels[label === 0 ? where * SIDE + i : i * SIDE + where] = 255;
  return pixels;
}

const folder = await temporaryFolder();
const random = randomFrom(2);
const pictures = Array.from({ length: 2000 }, (_, i): WebSample => {
  const label = i % 2;
  return { key: String(i).padStart(6, "0"), members: { img: drawBar(label, random), cls: String(label) } };
});
await writeShards(folder.path, pictures, 500);

const mill = await openMillrace({ mounts: { "/bars": folder.uri } });
try {
  const bars = await mill.dataset("/bars", { fields });
  const { train, val } = bars.split({ train: 0.8, val: 0.2 }, { seed: 1 });
  console.log(`training on ${train.sampleCount} pictures, validating on ${val.sampleCount}`);
  const trainLoader = train.loader({ batchSize: 64, shuffle: { seed: 17 } });
  const valLoader = val.loader({ batchSize: 100 });

  // A column's name is enough where the column is what the model takes. Here the pixels are scaled and the labels made one-hot.
  const tensors = {
    xs: (batch: Batch<typeof fields>) => tf.div(columnTensor(tf, batch, "img"), 255),
    ys: (batch: Batch<typeof fields>) => tf.oneHot(columnTensor(tf, batch, "cls"), CLASSES.length),
  };

  await tf.setBackend("cpu");
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({
        inputShape: [SIDE, SIDE, 1],
        filters: 4,
        kernelSize: 3,
        padding: "same",
        activation: "relu",
        kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }),
      }),
      tf.layers.flatten(),
      tf.layers.dense({ units: CLASSES.length, activation: "softmax", kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }) }),
    ],
  });
  model.compile({ optimizer: tf.train.adam(0.03), loss: "categoricalCrossentropy", metrics: ["accuracy"] });

  const history = await model.fitDataset(tfDataset(tf, trainLoader, { ...tensors, until: EPOCHS }), {
    epochs: EPOCHS,
    verbose: 0,
    // `repeat`: every validation reads the same epoch from its start, and the loader's position does not matter.
    validationData: tfDataset(tf, valLoader, { ...tensors, repeat: true }),
    callbacks: {
      onEpochEnd: async (epoch, logs) =>
        console.log(
          `epoch ${epoch}: loss ${logs!.loss!.toFixed(3)}, accuracy ${logs!.acc!.toFixed(3)}, on validation ${logs!.val_acc!.toFixed(3)}`,
        ),
    },
  });
  const reached = history.history.val_acc!.at(-1) as number;
  console.log(reached > 0.95 ? "the model tells lying bars from standing ones" : "the model did not learn");
} finally {
  await mill.close();
  await folder.remove();
}
