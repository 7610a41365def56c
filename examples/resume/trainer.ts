/**
 * A training run that can be killed at any moment: `trainer.ts <URI of the shards> <URI of the run> <cache directory>`. It goes on from the newest
 * training state, and tells its parent of every step.
 */
import { openMillrace } from "millrace";

const [shards, run, cache] = process.argv.slice(2) as [string, string, string];
const FEATURES = 8;
const EPOCHS = 4;
const SAVE_EVERY = 3;
const [RATE, MOMENTUM] = [0.02, 0.9];
const fields = { x: { dtype: "float32", shape: [FEATURES] }, y: "float32" } as const;

await using mill = await openMillrace({
  // A job as small as this one needs no thread of its own for reading, and starts sooner.
  engine: "inline",
  mounts: { "/data": shards, "/run": { uri: run, admission: "lru" } },
  cache: { memory: "32MiB", disk: [{ path: cache, capacity: "64MiB" }] },
});
const latest = await mill.loadLatest("/run/states");
for (const { path, reason } of latest?.skipped ?? []) console.log(`skipped ${path}: ${reason}`);

// What is learnt: a linear model, trained by stochastic gradient descent with momentum.
const kept = await latest?.checkpoint.load();
const weights = (kept?.get("weights")?.data ?? new Float32Array(FEATURES)) as Float32Array;
const velocity = (kept?.get("velocity")?.data ?? new Float32Array(FEATURES)) as Float32Array;
let { steps } = (latest?.extra ?? { steps: 0 }) as { steps: number };

const data = await mill.dataset("/data", { fields });
const loader = data.loader({ batchSize: 8, shuffle: { seed: 17 }, resume: latest?.loader });
for (const epoch of loader.epochs(EPOCHS))
  for await (const batch of epoch) {
    const { x, y } = batch.columns;
    const gradient = new Float32Array(FEATURES);
    for (let row = 0; row < batch.size; row++) {
      const features = x.data.subarray(row * FEATURES, (row + 1) * FEATURES);
      const error = features.reduce((sum, value, i) => sum + value * weights[i]!, -y.data[row]!);
      for (let i = 0; i < FEATURES; i++) gradient[i]! += (error * features[i]!) / batch.size;
    }
    for (let i = 0; i < FEATURES; i++) {
      velocity[i] = MOMENTUM * velocity[i]! - RATE * gradient[i]!;
      weights[i]! += velocity[i]!;
    }
    steps++;
    process.send?.({ epoch: batch.epoch, step: batch.step });
    if (steps % SAVE_EVERY === 0 || (batch.epoch === EPOCHS - 1 && batch.step === epoch.steps - 1)) {
      const tensors = Object.entries({ weights, velocity }).map(([name, data]) => ({
        name,
        dtype: "F32" as const,
        shape: [FEATURES],
        data,
      }));
      // Weights, loader and count go into one object: a crash leaves all of it or nothing. "back" returns once the local disk holds it.
      await mill.saveTrainingState("/run/states", { tensors, loader: batch.state, extra: { steps } }, { write: "back", keep: 3 });
    }
  }
await mill.flush();
