/** A checkpoint of random tensors, the same in every process that knows its size; and how reading one is measured. */
import { crc32c } from "@node-rs/crc32";
import { formatHeader } from "../../src/checkpoint/safetensors.js";
import type { NamedTensor } from "../../src/index.js";
import { randomBytes } from "../../test/support/datasets/index.js";
import type { Figures } from "./scenario.js";
import { timed } from "./subject.js";

export interface CheckpointSize {
  readonly tensors: number;
  /** Of each; divides by 4,000. */
  readonly tensorBytes: number;
}

/** Rows of 1,000 floats, in the order of the file. */
export function namedTensors({ tensors, tensorBytes }: CheckpointSize): NamedTensor[] {
  return Array.from({ length: tensors }, (_, i) => ({
    name: `layer.${String(i).padStart(4, "0")}.weight`,
    dtype: "F32",
    shape: [tensorBytes / 4000, 1000],
    data: new Float32Array(randomBytes(tensorBytes, i).buffer),
  }));
}

/** The file as any canonical writer writes it, and what its data come to. */
export function checkpointFile(size: CheckpointSize): { readonly file: Buffer; readonly headerBytes: number; readonly data: Figures } {
  const tensors = namedTensors(size);
  const { bytes: header } = formatHeader(tensors);
  const data = tensors.map((tensor) => bytesOf(tensor));
  return { file: Buffer.concat([header, ...data]), headerBytes: header.byteLength, data: checked(data) };
}

export function bytesOf({ data }: NamedTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** What the data come to, part by part in the order of the file. */
export function checked(parts: readonly Uint8Array[]): { readonly bytes: number; readonly checksum: number } {
  const bytes = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { bytes, checksum: parts.reduce((sum, part) => crc32c(part, sum), 0) };
}

/** What a measured run comes to: the data that it brought into memory, or that can be had where it has put them. In the order of the file. */
export interface Measured<T> {
  run(): Promise<T>;
  dataOf(result: T): Promise<readonly Uint8Array[]>;
  /** Before each pass. */
  before?(): Promise<unknown>;
}

/** Bytes and checksum of the last pass, times the mean of all. Not timed: checking the data, giving their memory back, and `before`. */
export async function measureWhole<T>(passes: number, { run, dataOf, before }: Measured<T>): Promise<Figures> {
  let data = { bytes: 0, checksum: 0 };
  let [wallSeconds, cpuSeconds] = [0, 0];
  for (let pass = 0; pass < passes; pass++) {
    await before?.();
    globalThis.gc?.();
    const one = await timed(run);
    wallSeconds += one.wallSeconds / passes;
    cpuSeconds += one.cpuSeconds / passes;
    data = checked(await dataOf(one.result));
  }
  const gigabytes = data.bytes / 1e9;
  return {
    ...data,
    wallSeconds,
    cpuSeconds,
    gigabytesPerSecond: gigabytes / wallSeconds,
    cpuSecondsPerGigabyte: cpuSeconds / gigabytes,
  };
}

/** Of runs that bring the data into memory. */
export function measureReads(passes: number, run: () => Promise<readonly Uint8Array[]>, before?: () => Promise<unknown>): Promise<Figures> {
  return measureWhole(passes, { run, dataOf: async (data) => data, ...(before && { before }) });
}
