/**
 * Emulated accelerators by the rule of MLPerf Storage: a loop that only takes the time which an accelerator would compute, three epochs of
 * 60 steps, from an origin that carries little more than the loop eats: the part ρ of its bandwidth. Beside the loop that waits idle
 * stands one that is busy for the whole step, as with `session.run`.
 */
import { startOrigin } from "../../test/support/origin/index.js";
import type { LoopKind } from "../lib/emulated-loop.js";
import type { Bar, Lookup, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { COSMOFLOW, RESNET50, RETINANET, UNET3D, type UploadedWorkload, uploadWorkload, type Workload } from "../lib/workloads.js";
import type { EmulationParameters, Stretch } from "../subject/emulated-training.js";

const BUCKET = "bench";
const EPOCHS = 3;
const STEPS = 60;
/** Time to the first byte of a response: of a store in the same region, on a good day. */
const FIRST_BYTE_MS = 10;
/** The open windows hold no more than this part of the data. There is no cache: every epoch comes from the origin, so that ρ is what it says. */
const WINDOW_SHARE = 1 / 5;
/** Demand ÷ the origin's bandwidth. */
const LOADS = [0.7, 0.85] as const;
const LOOPS: readonly LoopKind[] = ["idle", "blocking"];
/** By name: bars of AU at these loads, and rounds, for all scenarios to end within their time. */
const WORKLOADS: readonly (Workload & { readonly bars: readonly [number, number]; readonly rounds: number })[] = [
  { ...UNET3D, bars: [0.98, 0.93], rounds: 1 },
  { ...RESNET50, bars: [0.98, 0.93], rounds: 1 },
  { ...COSMOFLOW, bars: [0.95, 0.93], rounds: 1 },
  { ...RETINANET, bars: [0.98, 0.93], rounds: 1 },
];
const FIRST_EPOCH = "epoch 1";
const LATER_EPOCHS = "epochs 2–3";

/** The step gets 10 × faster in mid-epoch. */
const CHANGE = { name: `${RESNET50.name}, step 10 × faster from mid-epoch`, factor: 10, epochs: 2, rho: 0.7 };
const BEFORE = "before the change";
const AFTER = "after the change";
/** It settles within this part of an epoch. */
const SETTLING_SHARE = 0.05;

const subjectName = (workload: string, rho: number, loop: LoopKind): string => `${workload}, ρ=${rho}, ${loop}`;

async function prepare({ smoke, long }: PrepareOptions): Promise<PreparedScenario> {
  const steps = smoke ? 6 : STEPS;
  const origin = await startOrigin({ buckets: [BUCKET] });
  const { endpoint, region, credentials } = origin;
  const bandwidths = new Map<string, number>();
  const subjects: Subject[] = [];
  const add = (name: string, data: UploadedWorkload, rho: number, loop: LoopKind, epochs: number, stretches: Stretch[], rounds: number) => {
    // Small as it is in smoke mode, what counts there is that every sample comes: as fast as it may.
    const stretchesHere = smoke ? stretches.map((stretch) => ({ ...stretch, stepMs: 1 })) : stretches;
    if (!smoke) bandwidths.set(name, data.bytesPerSecond / rho);
    const parameters: EmulationParameters = {
      endpoint,
      region,
      credentials,
      source: `s3://${BUCKET}/${data.prefix}`,
      field: data.field,
      batchSize: data.batchSize,
      epochs,
      loop,
      stretches: stretchesHere,
      memory: 0,
      // Of the few samples of smoke mode each lane must have room for one.
      ...(!smoke && { window: Math.floor(data.all.bytes * WINDOW_SHARE) }),
    };
    const { samples, bytes, firstWords } = data.all;
    const expectedIn = { run: { samples: samples * epochs, bytes: bytes * epochs, firstWords: firstWords! * epochs } };
    const script = new URL("../subject/emulated-training.ts", import.meta.url);
    subjects.push({ name, script, parameters: { ...parameters }, expectedIn, rounds: long ? undefined : rounds });
  };
  try {
    for (const workload of WORKLOADS) {
      const data = await uploadWorkload(origin, BUCKET, workload, steps);
      const { name, stepMs, rounds } = workload;
      const stretches = [
        { name: FIRST_EPOCH, steps, stepMs },
        { name: LATER_EPOCHS, steps: (EPOCHS - 1) * steps, stepMs },
      ];
      for (const rho of LOADS) for (const loop of LOOPS) add(subjectName(name, rho, loop), data, rho, loop, EPOCHS, stretches, rounds);
      if (name !== RESNET50.name) continue;
      const half = steps / 2;
      const changing = [
        { name: BEFORE, steps: half, stepMs: stepMs * CHANGE.factor },
        { name: AFTER, steps: CHANGE.epochs * steps - half, stepMs },
      ];
      add(CHANGE.name, data, CHANGE.rho, "idle", CHANGE.epochs, changing, 1);
    }
    return {
      subjects,
      reset: async ({ name }) => {
        await origin.shape({ firstByteMs: smoke ? 0 : FIRST_BYTE_MS, totalBytesPerSecond: bandwidths.get(name) });
        await origin.reset();
      },
      observe: async ({ expectedIn }) => {
        const { requests, bytesSent, inFlightMax, cpuSeconds } = await origin.stats();
        return { requests, sentShare: bytesSent / expectedIn!.run!.bytes!, inFlightMax, cpuSeconds };
      },
      close: () => origin.close(),
    };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

/** In the worse of both loops. */
const worstAu = (of: Lookup, workload: string, rho: number): number =>
  Math.min(...LOOPS.map((loop) => of(subjectName(workload, rho, loop), LATER_EPOCHS, "au")));

const auBars: Bar[] = LOADS.flatMap((rho, i) =>
  WORKLOADS.map(({ name, bars }) => ({
    name: `AU at ρ=${rho}: ${name}`,
    atLeast: bars[i]!,
    value: (of) => worstAu(of, name, rho),
  })),
);

const settlingBar: Bar = {
  name: "part of an epoch until the read-ahead has settled on a step 10 × faster",
  atMost: SETTLING_SHARE,
  value: (of) => of(CHANGE.name, AFTER, "settledAfter") / STEPS,
};

export const scenario: Scenario = {
  name: "accelerators",
  title: `Emulated accelerators, ${STEPS} steps an epoch; ρ is demand ÷ the origin's bandwidth, its first byte takes ${FIRST_BYTE_MS} ms`,
  rounds: 5,
  columns: [
    { figure: "au", title: "AU", digits: 3, chart: true },
    { figure: "nominalAu", title: "nominal AU", digits: 3 },
    { figure: "strictAu", title: "AU with first steps", digits: 3 },
    { figure: "firstWaitMs", title: "longest wait for a first batch, ms", digits: 0 },
    { figure: "longestWaitMs", title: "for a later one, ms", digits: 1 },
    { figure: "stalls", title: "stalls > 1 % of a step", digits: 0 },
    { figure: "lastStall", title: "steps until the last", digits: 0 },
    { figure: "settledAfter", title: "until the rest waits < 1 %", digits: 0 },
    { figure: "depthMegabytes", title: "read-ahead at the end, MB", digits: 0 },
    { figure: "sentShare", title: "origin bytes ÷ bytes read", digits: 3 },
    { figure: "requests", title: "requests", digits: 0 },
    { figure: "inFlightMax", title: "in flight, most", digits: 0 },
    { figure: "cpuSeconds", title: "CPU s", digits: 1 },
  ],
  bars: [...auBars, settlingBar],
  prepare,
};
