/** One rank of a data-parallel run: `rank.ts <folder of shards> <batch size> <where to listen> <all ranks' addresses>` */
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { openMillrace } from "millrace";

/** What a rank brings to the all-reduce. */
export interface RankStep {
  readonly step: number;
  readonly keys: readonly string[];
  readonly gradient: readonly number[];
}
export interface RankEnd {
  readonly rows: number;
  readonly weights: readonly number[];
  /** Of the data, from the other rank's cache. */
  readonly peerBytes: number;
}

const [shards, batchSize, listen, discover] = process.argv.slice(2) as [string, string, string, string];
const EPOCHS = 2;
const LEARNING_RATE = 0.5;

/** Resolves to what all ranks come to together. */
function allReduce(mine: RankStep): Promise<readonly number[]> {
  return new Promise((resolve) => {
    process.once("message", (mean: readonly number[]) => resolve(mean));
    process.send!(mine);
  });
}

/** Of logistic regression on the points (x, y, 1), mean over the rows. */
function gradientOf(weights: readonly number[], points: Float32Array, labels: Int32Array): number[] {
  const gradient = [0, 0, 0];
  for (const [row, label] of labels.entries()) {
    const point = [points[2 * row]!, points[2 * row + 1]!, 1];
    const score = point.reduce((sum, value, i) => sum + value * weights[i]!, 0);
    const error = 1 / (1 + Math.exp(-score)) - label;
    for (const [i, value] of point.entries()) gradient[i]! += (error * value) / labels.length;
  }
  return gradient;
}

// A mount: a peer serves what it has mounted from the start on, and a bare URI only once it has opened that itself.
await using mill = await openMillrace({ mounts: { "/points": pathToFileURL(shards).href }, peers: { listen, discover } });
// Each rank would find the others in time, and read the origin meanwhile.
while (mill.stats().peers!.members !== discover.split(",").length) await sleep(20);
const dataset = await mill.dataset("/points", { fields: { bin: { dtype: "float32", shape: [2] }, cls: "int32" } });
// "drop" is the default of several ranks: all have as many steps, or one would wait at the barrier for ever.
const loader = dataset.loader({ batchSize: Number(batchSize), shuffle: { seed: 17 }, rank: "env", worldSize: "env" });

let weights: readonly number[] = [0, 0, 0];
let [step, rows] = [0, 0];
for (const epoch of loader.epochs(EPOCHS))
  for await (const { columns, keys, size } of epoch) {
    const gradient = gradientOf(weights, columns.bin.data, columns.cls.data);
    const mean = await allReduce({ step, keys, gradient });
    weights = weights.map((weight, i) => weight - LEARNING_RATE * mean[i]!);
    step++;
    rows += size;
  }
process.send!({ rows, weights, peerBytes: loader.stats().bytes.peer } satisfies RankEnd);
process.disconnect();
