/**
 * Quick start: shards in a folder (or a bucket) become shuffled, typed batches.
 *
 *   npx tsx examples/quick-start/main.ts
 */
import { openMillrace } from "millrace";
import { randomFrom } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type WebSample, writeShards } from "../support/webdataset.js";

// 1. Some data: 1,000 points in the plane, and whether each lies in the unit circle. Four WebDataset shards of 250.
const folder = await temporaryFolder();
const random = randomFrom(1);
const points = Array.from({ length: 1000 }, (_, i): WebSample => {
  const xy = Float32Array.of(random() * 2 - 1, random() * 2 - 1);
  const inside = Math.hypot(xy[0]!, xy[1]!) < 1 ? "1" : "0";
  return { key: String(i).padStart(6, "0"), members: { xy: new Uint8Array(xy.buffer), cls: inside } };
});
await writeShards(folder.path, points, 250);

// 2. A mill: where data lives, under names of our own. For a bucket, write "s3://bucket/points" here.
const mill = await openMillrace({ mounts: { "/points": folder.uri }, cache: { memory: "64MiB" } });
try {
  // 3. The dataset, with the fields that we want of each sample and what they are.
  const dataset = await mill.dataset("/points", { fields: { xy: { dtype: "float32", shape: [2] }, cls: "int32" } });
  console.log(`${dataset.sampleCount} samples in ${dataset.shardCount} shards`);

  // 4. A loader, and the loop. Columns are typed arrays: xy.data holds 2 × rows values, cls.data one a row.
  const loader = dataset.loader({ batchSize: 128, shuffle: { seed: 17 } });
  for (const epoch of loader.epochs(2)) {
    let inside = 0;
    let rows = 0;
    for await (const batch of epoch) {
      if (batch.step === 0) console.log(`epoch ${epoch.number} begins with ${batch.keys.slice(0, 3).join(", ")}`);
      for (const label of batch.columns.cls.data) inside += label;
      rows += batch.size;
    }
    console.log(`epoch ${epoch.number}: ${rows} rows in ${epoch.steps} steps, pi is about ${((4 * inside) / rows).toFixed(2)}`);
  }

  // 5. Where the loader's bytes came from: shards this small were read whole when they were indexed, so both epochs are served
  // by the cache. Larger ones are read in the first epoch.
  const { bytes } = loader.stats();
  console.log(`from the origin ${bytes.origin} bytes, from memory ${bytes.memory} bytes`);
} finally {
  await mill.close();
  await folder.remove();
}
