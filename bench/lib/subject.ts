/** The subject's side of a bench: parameters in, measurements out. */
import type { Measurement, Phases } from "./scenario.js";

export function parameters<P>(): P {
  return JSON.parse(process.argv[2] ?? "{}") as P;
}

export type Read = Pick<Measurement, "samples" | "bytes" | "firstWords">;

/** Counts what a loop was given, touching each sample as a training step would. */
export class Tally {
  samples = 0;
  bytes = 0;
  firstWords = 0;

  /** Both fields are byte offsets into `batch`. */
  add(batch: Uint8Array, begin: number, end: number): void {
    this.samples++;
    this.bytes += end - begin;
    this.firstWords += batch[begin]! + batch[begin + 1]! * 2 ** 8 + batch[begin + 2]! * 2 ** 16 + batch[begin + 3]! * 2 ** 24;
  }
}

/** Runs and times one phase. */
export async function measure(run: () => Promise<Read>): Promise<Measurement> {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const { samples, bytes, firstWords } = await run();
  const wallSeconds = (performance.now() - begin) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { samples, bytes, firstWords, wallSeconds, cpuSeconds: (user + system) / 1e6 };
}

/** The last line of a subject's output. */
export function report(phases: Phases): void {
  process.stdout.write(`${JSON.stringify(phases)}\n`);
}
