/**
 * What loading a checkpoint cannot go below, by hand, on one thread and those of libuv, each time into fresh memory: `cold`, ranges from bare
 * sockets; `memory`, a copy out of blocks on shared memory; `disk`, reads of a file whose blocks are each checked.
 */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { copyBytes } from "../../src/util/copy-bytes.js";
import type { RecordRange } from "../lib/ceiling/layout.js";
import { SocketSource } from "../lib/ceiling/socket-source.js";
import { readRanges } from "../lib/ceiling/source.js";
import { measureReads } from "../lib/checkpoint-data.js";
import { parameters, report } from "../lib/subject.js";

export interface CheckpointCeilingParameters {
  readonly endpoint: string;
  /** Where the server has its files. */
  readonly root: string;
  readonly path: string;
  readonly fileBytes: number;
  /** Before the data. */
  readonly headerBytes: number;
  readonly passes: number;
}

const given = parameters<CheckpointCeilingParameters>();
const RANGE_BYTES = 8 * 2 ** 20;
/** As the cache keeps them. */
const BLOCK_BYTES = 2 ** 20;
const IN_FLIGHT = 8;

function ranges(bytes: number): RecordRange[] {
  return Array.from({ length: Math.ceil(given.fileBytes / bytes) }, (_, i) => ({
    path: given.path,
    begin: i * bytes,
    bytes: Math.min(bytes, given.fileBytes - i * bytes),
    records: 1,
  }));
}
const dataOf = (whole: Buffer): Uint8Array[] => [whole.subarray(given.headerBytes)];

/** Every range to its own place. */
async function readInto(whole: Buffer, rangeBytes: number, source: Parameters<typeof readRanges>[0], take: (bytes: Buffer) => void) {
  const all = ranges(rangeBytes);
  const places = all.map(({ begin, bytes }) => whole.subarray(begin, begin + bytes));
  await readRanges(source, all, places, IN_FLIGHT, take);
}

async function fromSockets(sockets: SocketSource): Promise<Uint8Array[]> {
  const whole = Buffer.allocUnsafeSlow(given.fileBytes);
  await readInto(whole, RANGE_BYTES, sockets, () => {});
  return dataOf(whole);
}

async function fromDisk(file: FileHandle, checksums: readonly number[]): Promise<Uint8Array[]> {
  const whole = Buffer.allocUnsafeSlow(given.fileBytes);
  const source = {
    read: async ({ begin, bytes }: RecordRange, slot: Buffer) => void (await file.read(slot, 0, bytes, begin)),
    close: async () => {},
  };
  let block = 0;
  await readInto(whole, BLOCK_BYTES, source, (bytes) => {
    if (crc32c(bytes) !== checksums[block++]) throw new Error("another checksum");
  });
  return dataOf(whole);
}

async function fromMemory(blocks: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const whole = Buffer.allocUnsafeSlow(given.fileBytes);
  for (const [i, block] of blocks.entries()) copyBytes(whole, i * BLOCK_BYTES, block);
  return dataOf(whole);
}

const sockets = new SocketSource(given.endpoint);
await fromSockets(sockets);
const cold = await measureReads(given.passes, () => fromSockets(sockets));
await sockets.close();

const file = await open(join(given.root, given.path));
const blocks: Uint8Array[] = [];
for (const { begin, bytes } of ranges(BLOCK_BYTES)) {
  const block = new Uint8Array(new SharedArrayBuffer(bytes));
  await file.read(block, 0, bytes, begin);
  blocks.push(block);
}
const memory = await measureReads(given.passes, () => fromMemory(blocks));
const checksums = blocks.map((block) => crc32c(block));
blocks.length = 0;
const disk = await measureReads(given.passes, () => fromDisk(file, checksums));
await file.close();
report({ cold, memory, disk });
