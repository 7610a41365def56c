/** Millrace as its README shows it: cold from the origin, with the index files beside the shards, then warm from memory. */
import { type Epoch, openMillrace } from "../../src/index.js";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

const given = parameters<{
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
  bucket: string;
  batchSize: number;
  memory: string;
  data: string;
  warmUp: string;
}>();

async function readAll(epoch: Epoch<{ record: "bytes" }>): Promise<Read> {
  const tally = new Tally();
  for await (const batch of epoch) {
    const { values, offsets } = batch.columns.record;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
  }
  return tally;
}

const { endpoint, region, credentials } = given;
const mill = await openMillrace({ s3: { endpoint, region, credentials, forcePathStyle: true }, cache: { memory: given.memory } });
const open = async (prefix: string) => {
  const dataset = await mill.dataset(`s3://${given.bucket}/${prefix}`, { fields: { record: "bytes" } });
  return dataset.loader({ batchSize: given.batchSize, shuffle: { seed: 1 } });
};
const warmUp = await open(given.warmUp);
await readAll(warmUp.epoch(0));
await warmUp.close();
const loader = await open(given.data);
const cold = await measure(() => readAll(loader.epoch(0)));
const warm = await measure(() => readAll(loader.epoch(1)));
await mill.close();
report({ cold, warm });
