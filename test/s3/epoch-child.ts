/** One epoch in a process of its own, a line of JSON for each batch; it kills itself in the middle when told to. */
import { createHash } from "node:crypto";
import { type LoaderState, openMillrace, type S3Options } from "../../src/index.js";

export interface ChildOptions {
  s3: S3Options;
  source: string;
  fields: Record<string, "bytes" | "int32">;
  names: { payload: string; label: string };
  /** A directory for the disk tier. */
  cache: string | undefined;
  state: LoaderState | undefined;
  /** Batches. */
  killAfter: number | undefined;
}
export interface ChildLine {
  rows: string[];
  state: LoaderState;
}

const { s3, source, fields, names, cache, state, killAfter } = JSON.parse(process.argv[2]!) as ChildOptions;
const disk = cache === undefined ? [] : [{ path: cache, capacity: "256MiB" }];
await using mill = await openMillrace({ s3, cache: { memory: cache === undefined ? "64MiB" : 0, disk } });
const dataset = await mill.dataset(source, { fields });
const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 9 }, resume: state });
let batches = 0;
for (const epoch of loader.epochs(1)) {
  for await (const batch of epoch) {
    const rows: string[] = [];
    for (const sample of batch.samples()) {
      const payload = sample[names.payload] as Uint8Array;
      rows.push(`${createHash("sha256").update(payload).digest("hex")}:${sample[names.label]}`);
    }
    process.stdout.write(`${JSON.stringify({ rows, state: batch.state } satisfies ChildLine)}\n`);
    if (++batches === killAfter) process.kill(process.pid, "SIGKILL");
  }
}
