/** The demo's data: drawn shapes on noisy ground, 28 × 28 gray, one of six classes each. Sample i is the same picture everywhere. */
import { encodeExample, tfrecordShard } from "../../test/support/datasets/index.js";
import { randomFrom } from "../support/random.js";

export const SIZE = 28;
export const CLASSES = ["disc", "ring", "square", "triangle", "cross", "stripes"] as const;

/** True where the shape covers the point (x, y), given relative to its centre in units of its radius. */
const SHAPES: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => x * x + y * y < 1,
  (x, y) => Math.abs(Math.hypot(x, y) - 0.8) < 0.25,
  (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.9,
  (x, y) => y < 0.8 && y > Math.abs(x) * 1.8 - 1,
  (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.25 && Math.max(Math.abs(x), Math.abs(y)) < 1,
  (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 1 && Math.floor((y + 1) * 2.5) % 2 === 0,
];

export function draw(index: number): { readonly image: Uint8Array; readonly label: number } {
  const next = randomFrom(index * 2_654_435_761);
  const label = Math.floor(next() * CLASSES.length);
  const radius = 7 + next() * 4;
  const centreX = SIZE / 2 + (next() - 0.5) * 6;
  const centreY = SIZE / 2 + (next() - 0.5) * 6;
  const ink = 130 + next() * 90;
  const image = new Uint8Array(SIZE * SIZE);
  for (let y = 0; y < SIZE; y++)
    for (let x = 0; x < SIZE; x++) {
      const inside = SHAPES[label]!((x - centreX) / radius, (y - centreY) / radius);
      image[y * SIZE + x] = Math.min(255, next() * 60 + (inside ? ink : 0));
    }
  return { image, label };
}

/** Samples [from, to) as one TFRecord shard of `tf.train.Example`s. */
export function shardOf(from: number, to: number): Uint8Array {
  const examples = Array.from({ length: to - from }, (_, i) => {
    const { image, label } = draw(from + i);
    return encodeExample({ image: { bytes: [image] }, label: { ints: [label] } });
  });
  return tfrecordShard(examples).bytes;
}
