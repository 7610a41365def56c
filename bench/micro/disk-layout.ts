/**
 * File per block against one segment file with slots: what writing, reading and finding a block cost. `npx tsx bench/micro/disk-layout.ts [folder]`
 * Both write a 64-byte header with crc32c and check it when read; the page cache is warm, so what is compared is calls and CPU, not the disk.
 */
import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blockPath, encodeHeader, HEADER_BYTES, matches } from "../../src/cache/disk-layout.js";
import { readFileInto, writeFileAtomically } from "../../src/cache/file-io.js";

const PARALLEL = 4;
const ID = "0123456789abcdef0123456789abcdef";

interface Layout {
  write(block: number, bytes: Uint8Array): Promise<void>;
  read(block: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

async function filePerBlock(root: string): Promise<Layout> {
  await mkdir(join(root, "tmp"), { recursive: true });
  const path = (block: number): string => join(root, blockPath(ID, block, 2 ** 20));
  return {
    write: (block, bytes) => writeFileAtomically(join(root, "tmp", String(block)), path(block), [encodeHeader(ID, block, bytes), bytes]),
    read: async (block, target) => {
      const header = new Uint8Array(HEADER_BYTES);
      await readFileInto(path(block), [header, target]);
      if (!matches(header, ID, block, target)) throw new Error(`block ${block} is damaged`);
    },
    close: async () => {},
  };
}

async function segmentFile(root: string, size: number): Promise<Layout> {
  const file = await open(join(root, "segment"), "w+");
  const slot = HEADER_BYTES + size;
  return {
    write: async (block, bytes) => void (await file.writev([encodeHeader(ID, block, bytes), bytes], block * slot)),
    read: async (block, target) => {
      const header = new Uint8Array(HEADER_BYTES);
      await file.readv([header, target], block * slot);
      if (!matches(header, ID, block, target)) throw new Error(`block ${block} is damaged`);
    },
    close: () => file.close(),
  };
}

/** Runs `work` for each block, some at once; µs of wall and of CPU a block. */
async function time(count: number, work: (block: number, lane: number) => Promise<void>): Promise<{ wall: number; cpu: number }> {
  const [cpu, wall] = [process.cpuUsage(), performance.now()];
  let next = 0;
  const lane = async (n: number): Promise<void> => {
    while (next < count) await work(next++, n);
  };
  await Promise.all(Array.from({ length: PARALLEL }, (_, n) => lane(n)));
  const used = process.cpuUsage(cpu);
  return { wall: ((performance.now() - wall) * 1_000) / count, cpu: (used.user + used.system) / count };
}

const folder = process.argv[2] ?? tmpdir();
const rows: object[] = [];
for (const [size, count] of [
  [64 * 1024, 2_000],
  [2 ** 20, 400],
] as const)
  for (const [layout, make] of [
    ["file per block", filePerBlock],
    ["segment file", segmentFile],
  ] as const) {
    const root = await mkdtemp(join(folder, "millrace-layout-"));
    const store = await make(root, size);
    const bytes = new Uint8Array(new SharedArrayBuffer(size)).fill(7);
    const targets = Array.from({ length: PARALLEL }, () => new Uint8Array(new SharedArrayBuffer(size)));
    const written = await time(count, (block) => store.write(block, bytes));
    const rewritten = await time(count, (block) => store.write(block, bytes));
    const read = await time(count, (block, lane) => store.read((block * 7) % count, targets[lane]!));
    await store.close();
    await rm(root, { recursive: true });
    const cell = ({ wall, cpu }: { wall: number; cpu: number }): string => `${wall.toFixed(0)} / ${cpu.toFixed(0)}`;
    rows.push({
      block: `${size / 1024} KiB`,
      layout,
      "write µs wall/cpu": cell(written),
      again: cell(rewritten),
      "read µs wall/cpu": cell(read),
    });
  }
console.table(rows);
