/**
 * A training loop whose step only takes time, as if an accelerator computed, and how busy that accelerator was kept by the rule of
 * MLPerf Storage: AU = measured compute ÷ wall, the first step of an epoch excluded.
 */
import { setTimeout as timer } from "node:timers/promises";
import type { Figures } from "./scenario.js";

/** `idle`: the main thread is free while the step computes. `blocking`: it is busy for the whole step, as with `session.run` or a tfjs step. */
export type LoopKind = "idle" | "blocking";

/** Times of `performance.now()`, milliseconds. */
export interface Step {
  /** What the compute should take. */
  readonly computeMs: number;
  readonly firstOfEpoch: boolean;
  /** When the loop asked for the batch, had it and looked at it, and had computed. */
  readonly asked: number;
  readonly begun: number;
  readonly done: number;
}

/** Timers fire up to this much too late: the rest of a wait is spent asking the clock, milliseconds. */
const TIMER_SLACK_MS = 1.5;

/** Busy, not asleep: no callback, timer or message is served. */
export function block(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

async function compute(milliseconds: number, kind: LoopKind): Promise<void> {
  if (kind === "blocking") return block(milliseconds);
  const end = performance.now() + milliseconds;
  if (milliseconds > TIMER_SLACK_MS) await timer(Math.floor(milliseconds - TIMER_SLACK_MS));
  while (performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
}

/** One epoch, or its first steps: `computeMs[i]` is the compute of step i, milliseconds; leaves after the last of them. */
export async function emulateEpoch<B>(
  batches: AsyncIterable<B>,
  kind: LoopKind,
  computeMs: readonly number[],
  use: (batch: B) => void,
): Promise<Step[]> {
  const steps: Step[] = [];
  let asked = performance.now();
  for await (const batch of batches) {
    use(batch);
    const milliseconds = computeMs[steps.length]!;
    const begun = performance.now();
    await compute(milliseconds, kind);
    const done = performance.now();
    steps.push({ computeMs: milliseconds, firstOfEpoch: steps.length === 0, asked, begun, done });
    asked = done;
    if (steps.length === computeMs.length) break;
  }
  return steps;
}

/** A wait longer than this part of the step's compute is a stall; so is waiting for longer than this part of the compute of many steps. */
const STALL_SHARE = 0.01;
const stalled = (step: Step): boolean => step.begun - step.asked > STALL_SHARE * step.computeMs;

/** Steps until those left wait for less than 1 % of their compute, all together. Single waits are left out of account: a busy machine makes some anywhere. */
function settledAfter(steps: readonly Step[]): number {
  let after = steps.length;
  let over = 0;
  for (let i = steps.length - 1; i >= 0; i--) {
    const { computeMs, firstOfEpoch, asked, begun } = steps[i]!;
    if (!firstOfEpoch) over += begun - asked - STALL_SHARE * computeMs;
    if (over <= 0) after = i;
  }
  return after;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/**
 * What a stretch of steps comes to. `au`: by the rule; `nominalAu`: with the compute that was to be, since a timer fires late;
 * `strictAu`: with the first steps, and the waits for them. `stalls`: steps that waited, the first of an epoch excluded;
 * `lastStall`: steps until the last of them; `settledAfter`: until what is left waits for less than 1 %; `firstWaitMs`: the longest wait for an epoch's first batch.
 */
export function utilization(steps: readonly Step[]): Figures {
  const counted = steps.filter(({ firstOfEpoch }) => !firstOfEpoch);
  const wall = (of: readonly Step[]) => sum(of.map(({ asked, done }) => done - asked));
  const computed = (of: readonly Step[]) => sum(of.map(({ begun, done }) => done - begun));
  const late = steps.map((step) => !step.firstOfEpoch && stalled(step));
  return {
    steps: steps.length,
    au: computed(counted) / wall(counted),
    nominalAu: sum(counted.map(({ computeMs }) => computeMs)) / wall(counted),
    strictAu: computed(steps) / wall(steps),
    stalls: late.filter(Boolean).length,
    lastStall: late.lastIndexOf(true) + 1,
    settledAfter: settledAfter(steps),
    longestWaitMs: Math.max(...counted.map(({ asked, begun }) => begun - asked)),
    firstWaitMs: Math.max(0, ...steps.filter(({ firstOfEpoch }) => firstOfEpoch).map(({ asked, begun }) => begun - asked)),
    wallSeconds: wall(steps) / 1000,
  };
}
