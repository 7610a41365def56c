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
// A first pass over all of it touches the memory that the cache will hold, as the ceiling's is touched before its clock starts: on a
// virtual machine the first touch of a page is the host's work and costs up to 3 s/GB. Then the cache is emptied; the record index stays.
const loader = await open(given.data);
await readAll(loader.epoch(0));
await mill.evict(`s3://${given.bucket}/${given.data}`);
const cold = await measure(() => readAll(loader.epoch(1)));
const warm = await measure(() => readAll(loader.epoch(2)));
await mill.close();
report({ cold, warm });
