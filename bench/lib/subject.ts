/** The subject's side of a bench: parameters in, measurements out. */
import type { Figures, Phases } from "./scenario.js";

export function parameters<P>(): P {
  return JSON.parse(process.argv[2] ?? "{}") as P;
}

/** What a loop was given. `firstWords`: sum of the first 32-bit word of every sample; it shows that it was these samples. */
export interface Read {
  readonly samples: number;
  readonly bytes: number;
  readonly firstWords: number;
}

/** Counts what a loop was given, touching each sample as a training step would. */
export class Tally implements Read {
  samples = 0;
  bytes = 0;
  firstWords = 0;

  /** Byte `i` of the batch is its element `i`; `begin` and `end` bound the sample. */
  add(batch: ArrayLike<number>, begin: number, end: number): void {
    this.samples++;
    this.bytes += end - begin;
    this.firstWords += batch[begin]! + batch[begin + 1]! * 2 ** 8 + batch[begin + 2]! * 2 ** 16 + batch[begin + 3]! * 2 ** 24;
  }
}

/** Wall and CPU time (user and system, all threads of this process) of `run`, seconds. */
export async function timed<T>(
  run: () => Promise<T>,
): Promise<{ readonly result: T; readonly wallSeconds: number; readonly cpuSeconds: number }> {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const result = await run();
  const wallSeconds = (performance.now() - begin) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { result, wallSeconds, cpuSeconds: (user + system) / 1e6 };
}

/** Runs and times one phase that reads samples. */
export async function measure(run: () => Promise<Read>): Promise<Figures> {
  const { result, wallSeconds, cpuSeconds } = await timed(run);
  return figuresOf(result, wallSeconds, cpuSeconds);
}

/** Called around each pass, and not timed. */
export interface AroundPass {
  before?(): Promise<void>;
  after?(): Promise<void>;
}

/** A phase of several passes over the same samples: the figures of one, its times the mean of all. */
export async function measurePasses(passes: number, run: () => Promise<Read>, around: AroundPass = {}): Promise<Figures> {
  const reads: Read[] = [];
  let [wallSeconds, cpuSeconds] = [0, 0];
  for (let pass = 0; pass < passes; pass++) {
    await around.before?.();
    const one = await timed(run);
    await around.after?.();
    reads.push(one.result);
    wallSeconds += one.wallSeconds / passes;
    cpuSeconds += one.cpuSeconds / passes;
  }
  const [first, ...others] = reads;
  if (others.some(({ bytes, firstWords }) => bytes !== first!.bytes || firstWords !== first!.firstWords))
    throw new Error("the passes have read different samples");
  return figuresOf(first!, wallSeconds, cpuSeconds);
}

function figuresOf({ samples, bytes, firstWords }: Read, wallSeconds: number, cpuSeconds: number): Figures {
  return {
    samples,
    bytes,
    firstWords,
    wallSeconds,
    cpuSeconds,
    samplesPerSecond: samples / wallSeconds,
    gigabytesPerSecond: bytes / 1e9 / wallSeconds,
    cpuSecondsPerGigabyte: cpuSeconds / (bytes / 1e9),
  };
}

/** The last line of a subject's output. */
export function report(phases: Phases): void {
  process.stdout.write(`${JSON.stringify(phases)}\n`);
}
