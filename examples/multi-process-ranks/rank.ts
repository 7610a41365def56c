/** One of several processes that share an epoch: reads its part, and tells its parent the keys. `rank.ts <folder of shards>` */
import { pathToFileURL } from "node:url";
import { openDataset } from "millrace";

await using dataset = await openDataset(pathToFileURL(process.argv[2]!).href, { fields: { cls: "int32" } });
const loader = dataset.loader({
  batchSize: 32,
  shuffle: { seed: 17 },
  // From RANK and WORLD_SIZE, as torchrun, or the like of it from MPI and Slurm, sets them.
  rank: "env",
  worldSize: "env",
  // Every sample, though ranks may then differ by one row. Training with a barrier a step needs "drop" or "pad".
  remainder: "keep",
});
const keys: string[] = [];
for await (const batch of loader.epoch(0)) keys.push(...batch.keys);
process.send!({ keys, steps: loader.stepsPerEpoch });
process.disconnect();
