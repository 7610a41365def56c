/**
 * Inference with ONNX Runtime: pictures from a folder are decoded in worker threads to NCHW batches, scored, checked, and the
 * scores written out as JSON lines through the mill.
 *
 *   npx tsx examples/infer-onnx/main.ts
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openMillrace } from "millrace";
import { createSession, feeds } from "millrace/onnx";
import * as ort from "onnxruntime-node";
import sharp from "sharp";
import { randomFrom } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import decoder, { SIDE } from "./decoder.js";
import { colourModel } from "./onnx-model.js";

const CLASSES = ["blue", "green", "red"];
// Rows are the red, green and blue planes, columns the classes.
const WEIGHTS = [
  [0, 0, 9],
  [0, 9, 0],
  [9, 0, 0],
];
const BIAS = [0.1, 0.2, 0.3];

/** Three folders of twenty PNGs, each mostly of the folder's colour, in many sizes. */
async function drawPictures(folder: string): Promise<void> {
  const random = randomFrom(3);
  for (const [label, name] of CLASSES.entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < 20; i++) {
      const [width, height] = [40 + Math.floor(random() * 60), 40 + Math.floor(random() * 60)];
      const pixels = Buffer.alloc(width * height * 3);
      // Channel 0 is red and class 0 is blue: they run in opposite directions.
      for (let at = 0; at < pixels.length; at++) pixels[at] = random() * (at % 3 === 2 - label ? 255 : 90);
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .png()
        .toFile(join(folder, name, `${i}.png`));
    }
  }
}

/** What the model should say, computed in plain JavaScript from one picture's planes. */
function reference(planes: Float32Array): number[] {
  const means = [0, 1, 2].map((c) => planes.subarray(c * SIDE * SIDE, (c + 1) * SIDE * SIDE).reduce((a, b) => a + b, 0) / (SIDE * SIDE));
  const logits = BIAS.map((bias, k) => means.reduce((sum, mean, c) => sum + mean * WEIGHTS[c]![k]!, bias));
  const powers = logits.map(Math.exp);
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

const folder = await temporaryFolder();
await drawPictures(join(folder.path, "pictures"));
await mkdir(join(folder.path, "out"));
await writeFile(join(folder.path, "colour.onnx"), colourModel(WEIGHTS, BIAS));

const mill = await openMillrace({ mounts: { "/data": folder.uri } });
try {
  const pictures = await mill.dataset("/data/pictures", { fields: { bytes: "bytes" } });
  const session = await createSession(ort, mill, "/data/colour.onnx");
  const loader = pictures.loader({ batchSize: 16, decode: decoder, workers: 2 });

  const lines: string[] = [];
  let right = 0;
  let worst = 0;
  for await (const batch of loader.epoch(0)) {
    const { image } = batch.columns;
    const { scores } = await session.run(feeds(ort, batch, { image: "image" }));
    for (const [row, key] of batch.keys.entries()) {
      const got = Array.from(scores!.data.slice(row * CLASSES.length, (row + 1) * CLASSES.length) as Float32Array);
      const wanted = reference(image.data.subarray(row * 3 * SIDE * SIDE, (row + 1) * 3 * SIDE * SIDE));
      worst = Math.max(worst, ...got.map((score, k) => Math.abs(score - wanted[k]!)));
      const label = CLASSES[got.indexOf(Math.max(...got))]!;
      if (key.includes(`${label}/`)) right++;
      lines.push(JSON.stringify({ key, label, scores: got.map((score) => Number(score.toFixed(4))) }));
    }
  }
  await session.release();
  await mill.writeFile("/data/out/predictions.jsonl", `${lines.join("\n")}\n`);

  const written = new TextDecoder().decode(await mill.readFile("/data/out/predictions.jsonl"));
  console.log(`${right} of ${pictures.sampleCount} pictures are of the colour of their folder`);
  console.log(worst < 1e-5 ? "scores agree with the reference" : `scores are off by up to ${worst}`);
  console.log(`${written.trim().split("\n").length} lines written, the first: ${written.slice(0, written.indexOf("\n"))}`);
} finally {
  await mill.close();
  await folder.remove();
}
