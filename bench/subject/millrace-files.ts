/** Millrace over objects that are samples: an epoch from the origin, then epochs from the memory tier. */
import { type Epoch, openMillrace } from "../../src/index.js";
import { connectOrigin, type OriginInfo } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { measure, parameters, type Read, report, Tally, timed } from "../lib/subject.js";

const given = parameters<{
  origin: OriginInfo;
  bucket: string;
  prefix: string;
  batchSize: number;
  headerBytes: number;
  memory: string;
}>();
const origin = connectOrigin(given.origin);

async function readAll(epoch: Epoch<{ bytes: "bytes" }>): Promise<Read> {
  const tally = new Tally();
  for await (const batch of epoch) {
    const { values, offsets } = batch.columns.bytes;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]! + given.headerBytes, offsets[row + 1]!);
  }
  return tally;
}

/** Figures of the run, and the requests that the origin saw meanwhile. */
async function counted<F extends object>(run: () => Promise<F>): Promise<F & { readonly requests: number }> {
  const before = (await origin.stats()).requests;
  const figures = await run();
  return { ...figures, requests: (await origin.stats()).requests - before };
}

const mill = await openMillrace({ s3: s3Options(given.origin), cache: { memory: given.memory } });
const source = `s3://${given.bucket}/${given.prefix}`;
const open = () => mill.dataset(source, { fields: { bytes: "bytes" } });
const listing = await counted(async () => ({ wallSeconds: (await timed(open)).wallSeconds }));
const loader = (await open()).loader({ batchSize: given.batchSize, shuffle: { seed: 1 } });
// The first file, which was read to see that it has the fields.
await mill.evict(source);
const cold = await counted(() => measure(() => readAll(loader.epoch(0))));
const warm = await counted(() => measure(() => readAll(loader.epoch(1))));
await mill.close();
report({ listing, cold, warm });
