/** Millrace feeding an emulated accelerator: as many epochs as there are names for them, one after another. */
import { type LoaderOptions, type MillraceOptions, openMillrace } from "../../src/index.js";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { emulateEpoch, utilization } from "../lib/emulated-loop.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report, Tally } from "../lib/subject.js";

export interface MillraceLoopParameters {
  readonly origin: OriginInfo;
  readonly source: string;
  readonly computeMs: number;
  /** Of the origin, where the part of it that was used is to be reported. */
  readonly capBytesPerSecond?: number | undefined;
  /** Phase of each epoch, from epoch 0. An empty name is an epoch that is not reported. */
  readonly epochs: readonly string[];
  readonly mill: Pick<MillraceOptions, "cache" | "limits">;
  readonly loader: LoaderOptions;
}

const given = parameters<MillraceLoopParameters>();
const mill = await openMillrace({ s3: s3Options(given.origin), ...given.mill });
const dataset = await mill.dataset(given.source, { fields: { record: "bytes" } });
// The first record, which was read to see that it has the field: cold is an empty cache.
await mill.evict(given.source);
const loader = dataset.loader(given.loader);
const computeMs = Array.from({ length: loader.stepsPerEpoch }, () => given.computeMs);
const phases: Record<string, Figures> = {};
for (const epoch of loader.epochs(given.epochs.length)) {
  const tally = new Tally();
  const steps = await emulateEpoch(epoch, "idle", computeMs, (batch) => {
    const { values, offsets } = batch.columns.record;
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
  });
  const figures = utilization(steps);
  const phase = given.epochs[epoch.number]!;
  if (phase !== "")
    phases[phase] = {
      ...tally,
      ...figures,
      megabytesPerSecond: tally.bytes / 1e6 / figures.wallSeconds!,
      ...(given.capBytesPerSecond !== undefined && { capShare: tally.bytes / figures.wallSeconds! / given.capBytesPerSecond }),
    };
}
await mill.close();
report(phases);
