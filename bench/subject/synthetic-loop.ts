/** The emulated accelerator alone: the same loop over a batch that is in memory and is handed out at every step. */
import { emulateEpoch, utilization } from "../lib/emulated-loop.js";
import { parameters, report, Tally } from "../lib/subject.js";

export interface SyntheticLoopParameters {
  readonly batchSize: number;
  readonly sampleBytes: number;
  readonly computeMs: number;
  readonly steps: number;
}

const { batchSize, sampleBytes, computeMs, steps } = parameters<SyntheticLoopParameters>();
const batch = new Uint8Array(batchSize * sampleBytes).fill(1);
async function* batches() {
  for (let step = 0; step < steps; step++) yield batch;
}
const tally = new Tally();
const done = await emulateEpoch(batches(), "idle", new Array<number>(steps).fill(computeMs), (bytes) => {
  for (let row = 0; row < batchSize; row++) tally.add(bytes, row * sampleBytes, (row + 1) * sampleBytes);
});
report({ epoch: { ...tally, ...utilization(done) } });
