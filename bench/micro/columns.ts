/**
 * What it costs to build batches of columns on one thread, without a decoder: samples/s, GB/s and CPU s/GB by kind of field,
 * beside a plain copy of the same bytes. Run: `npx tsx bench/micro/columns.ts`.
 */
import type { Fields } from "../../src/api.js";
import type { RecordFormat } from "../../src/formats/format.js";
import { Assembler, batchBuffers } from "../../src/loader/assemble.js";
import { copyBytes } from "../../src/util/copy-bytes.js";
import { batchRows } from "../../test/support/raw-record.js";

const ROWS = 256;
const RECORD_BYTES = 110_000;
const SECONDS = 1;

const slab = new Uint8Array(new SharedArrayBuffer(ROWS * RECORD_BYTES)).fill(7);
const records = Array.from({ length: ROWS }, (_, row) => slab.subarray(row * RECORD_BYTES, (row + 1) * RECORD_BYTES));
const written = records.map((bytes, index) => ({ bytes, key: "k", index, shardPath: "s" }));
const rows = batchRows(written);
const label = BigInt64Array.of(3n);
const format = {
  name: "bench",
  fields: ({ bytes, begin, end }) => ({ image: bytes.subarray(begin, end), label }),
} satisfies Pick<RecordFormat, "name" | "fields">;

function measure(name: string, bytesPerTurn: number, samplesPerTurn: number, turn: () => unknown): Promise<void> {
  return run(turn, 0.2)
    .then(() => run(turn, SECONDS))
    .then(({ turns, wall, cpu }) => {
      const gigabytes = (turns * bytesPerTurn) / 1e9;
      const figures = [
        `${Math.round((turns * samplesPerTurn) / wall)} samples/s`,
        `${(gigabytes / wall).toFixed(2)} GB/s`,
        `${(cpu / gigabytes).toFixed(3)} CPU s/GB`,
      ];
      console.log(`${name.padEnd(44)} ${figures.join("   ")}`);
    });
}
async function run(turn: () => unknown, seconds: number): Promise<{ turns: number; wall: number; cpu: number }> {
  const before = process.cpuUsage();
  const start = performance.now();
  let turns = 0;
  while (performance.now() - start < seconds * 1000) {
    await turn();
    turns++;
  }
  const { user, system } = process.cpuUsage(before);
  return { turns, wall: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 };
}

const bytes = ROWS * RECORD_BYTES;
await measure("copy into fresh memory", bytes, ROWS, () => {
  const target = new Uint8Array(bytes);
  for (let row = 0; row < ROWS; row++) copyBytes(target, row * RECORD_BYTES, records[row]!);
});
const kept = new Uint8Array(bytes);
await measure("copy into the same memory", bytes, ROWS, () => {
  for (let row = 0; row < ROWS; row++) copyBytes(kept, row * RECORD_BYTES, records[row]!);
});
for (const [name, image] of [
  ["bytes", "bytes"],
  ["uint8 tensor", { dtype: "uint8", shape: [RECORD_BYTES] }],
] as const)
  for (const recycle of [false, true]) {
    const assembler = new Assembler({
      format,
      fields: { image, label: "int32" } as Fields,
      classes: undefined,
      root: "r",
      onError: "throw",
      decode: undefined,
      recycle,
    });
    await measure(`${name} + int32, ${recycle ? "memory given back" : "fresh memory"}`, bytes, ROWS, async () => {
      const batch = await assembler.assemble({ rows, padding: 0, epoch: 0 });
      if (recycle) assembler.memory.give(batchBuffers(batch));
    });
  }
const tiny = batchRows(written.map((row) => ({ ...row, bytes: row.bytes.subarray(0, 100) })));
const assembler = new Assembler({
  format,
  fields: { image: "bytes", label: "int32" },
  classes: undefined,
  root: "r",
  onError: "throw",
  decode: undefined,
  recycle: false,
});
await measure("100 B of bytes + int32", ROWS * 100, ROWS, () => assembler.assemble({ rows: tiny, padding: 0, epoch: 0 }));
