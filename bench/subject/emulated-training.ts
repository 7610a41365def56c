/** Millrace feeding an emulated accelerator: epochs one after the other, and what the read-ahead chose, on stderr. */
import { type Batch, openMillrace } from "../../src/index.js";
import { emulateEpoch, type LoopKind, type Step, utilization } from "../lib/emulated-loop.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report, Tally } from "../lib/subject.js";

/** Steps that are measured together, one stretch after the other from the run's first step on. */
export interface Stretch {
  readonly name: string;
  readonly steps: number;
  /** Compute of each step, milliseconds. */
  readonly stepMs: number;
  /** Figures to print beside those measured: what theory says they can be. */
  readonly known?: Figures | undefined;
}
export interface EmulationParameters {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly source: string;
  readonly field: string;
  readonly batchSize: number;
  readonly epochs: number;
  readonly loop: LoopKind;
  readonly stretches: readonly Stretch[];
  /** `cache.memory`, bytes; who may enter it, default `pin`; `shuffle.window`, bytes. */
  readonly memory: number;
  readonly admission?: "pin" | "lru" | undefined;
  readonly window?: number | undefined;
  readonly blockSize?: string | undefined;
  readonly readAhead?: number | undefined;
}

const given = parameters<EmulationParameters>();
const { endpoint, region, credentials } = given;
const mill = await openMillrace({
  mounts: { "/data": { uri: given.source, admission: given.admission } },
  s3: { endpoint, region, credentials, forcePathStyle: true },
  cache: { memory: given.memory, blockSize: given.blockSize },
});
const dataset = await mill.dataset("/data", { fields: { [given.field]: "bytes" } });
const loader = dataset.loader({ batchSize: given.batchSize, shuffle: { seed: 1, window: given.window }, readAhead: given.readAhead });

const tally = new Tally();
const steps: Step[] = [];
const cpu = process.cpuUsage();
const planned = given.stretches.flatMap((stretch) => Array.from({ length: stretch.steps }, () => stretch.stepMs));
/** Bytes served from memory and in all when so many steps were done. */
const servedAt: { readonly memory: number; readonly all: number }[] = [{ memory: 0, all: 0 }];
function look(batch: Batch<Record<string, "bytes">>): void {
  const { values, offsets } = batch.columns[given.field]!;
  for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
  const { bytes } = loader.stats();
  servedAt.push({ memory: bytes.memory, all: bytes.memory + bytes.disk + bytes.peer + bytes.origin });
}
for (const epoch of loader.epochs(given.epochs)) {
  const computeMs = planned.slice(steps.length, steps.length + epoch.steps);
  if (computeMs.length === 0) break;
  steps.push(...(await emulateEpoch(epoch, given.loop, computeMs, look)));
}
const { user, system } = process.cpuUsage(cpu);

const phases: Record<string, Figures> = {};
let from = 0;
for (const { name, steps: count, known } of given.stretches) {
  const [before, after] = [servedAt[from]!, servedAt[from + count]!];
  const hitRate = (after.memory - before.memory) / (after.all - before.all);
  phases[name] = { ...utilization(steps.slice(from, from + count)), hitRate, ...known };
  from += count;
}
const { depthBytes, reason } = loader.stats().readAhead;
phases.run = { ...tally, cpuSeconds: (user + system) / 1e6, depthMegabytes: depthBytes / 1e6 };
console.error(`read-ahead: ${reason}`);
await mill.close();
report(phases);
