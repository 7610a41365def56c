/** What the demo shows: in a terminal with progress bars and a little weight, elsewhere as plain lines. At most 100 columns wide. */
import { Presets, SingleBar } from "cli-progress";
import type { Dataset, LoaderState } from "millrace";

const styled = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const bold = (text: string) => (styled ? `\x1b[1m${text}\x1b[22m` : text);
const dim = (text: string) => (styled ? `\x1b[2m${text}\x1b[22m` : text);

export const count = (value: number) => Math.round(value).toLocaleString("en");
export const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
const percent = (part: number) => `${(100 * part).toFixed(1)} %`;

export function title(text: string): void {
  console.log(`\n${bold(text)}\n`);
}

/** A fact, with its name before it. */
export function line(name: string, text: string): void {
  console.log(`  ${dim(name.padEnd(9))} ${text}`);
}

/** Drawn only in a terminal, and gone when it is whole. */
export function bar(what: string, total: number): SingleBar {
  const format = `  ${what.padEnd(9)} {bar} {percentage}%  {value}/{total} {note}`;
  const created = new SingleBar({ format, hideCursor: true, clearOnComplete: true, barsize: 40 }, Presets.shades_classic);
  created.start(total, 0, { note: "" });
  return created;
}

/** One epoch, as measured. */
export interface EpochRow {
  readonly epoch: number;
  readonly loss: number;
  readonly accuracy: number;
  readonly samples: number;
  readonly wallMs: number;
  /** Time that the loop waited for batches. */
  readonly waitedMs: number;
  readonly memoryBytes: number;
  readonly originBytes: number;
}

const WIDTHS = [7, 10, 12, 13, 11, 15, 15];
const row = (cells: readonly string[]) => cells.map((cell, i) => cell.padStart(WIDTHS[i]!)).join("");

/** `origin`: what its column is called. */
export function tableHead(origin: string): void {
  console.log(`\n${dim(row(["epoch", "loss", "accuracy", "samples/s", "stall", "from memory", origin]))}`);
}

export function tableRow({ epoch, loss, accuracy, samples, wallMs, waitedMs, memoryBytes, originBytes }: EpochRow): void {
  const speed = count((1000 * samples) / wallMs);
  const bytes = [memoryBytes, originBytes].map(megabytes);
  console.log(row([String(epoch), loss.toFixed(4), percent(accuracy), speed, percent(waitedMs / wallMs), ...bytes]));
}

export function facts(dataset: Dataset<unknown>, openMs: number): void {
  const { shardCount, sampleCount, byteLength } = dataset;
  const read = `${shardCount} shards, ${count(sampleCount)} samples, ${megabytes(byteLength)}`;
  line("dataset", `${read}; opened and indexed in ${count(openMs)} ms`);
}

/** The state as it would be saved, its long texts cut short. */
export function stateText(state: LoaderState): string {
  const cut = (text: string, length: number) => `${text.slice(0, length)}…`;
  return JSON.stringify({ ...state, fingerprint: cut(state.fingerprint, 6), order: cut(state.order, 6) });
}
