/** Every decoder of millrace/decode in a loader: the same batches from any number of decode workers. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Dataset, type Millrace, openMillrace } from "../../src/index.js";
import { webdatasetShard } from "../support/datasets/index.js";
import { photo } from "../support/photo.js";
import decoder from "./fixtures/every-decoder.js";

const SAMPLES = 26;
const fields = { jpg: "bytes", npy: "bytes", wav: "bytes", json: "bytes", txt: "bytes" } as const;

function boxes(count: number): Uint8Array {
  const header = Buffer.from(`{'descr': '<f4', 'fortran_order': False, 'shape': (${count}, 4), }\n`);
  const values = Float32Array.from({ length: count * 4 }, (_, i) => i / 8);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\0", "latin1"), Buffer.from([header.length, 0]), header, new Uint8Array(values.buffer)]);
}
function stereo(frames: number): Uint8Array {
  const header = Buffer.from("RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\0\0\0\0", "latin1");
  header.writeUInt32LE(frames * 4, header.length - 4);
  return Buffer.concat([header, new Uint8Array(Int16Array.from({ length: frames * 2 }, (_, i) => i - 40).buffer)]);
}
/** Some that jpeg-turbo decodes, and some that sharp does: those that are made much smaller. */
async function picture(i: number): Promise<Uint8Array> {
  if (i % 5 === 4) return photo(200, 150, { seed: i });
  return photo(40, 30, { seed: i, ...(i % 5 === 3 ? { orientation: 6 } : {}), grey: i % 5 === 2 });
}

let folder: string;
let mill: Millrace;
let dataset: Dataset<typeof fields>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  const samples = await Promise.all(
    Array.from({ length: SAMPLES }, async (_, i) => ({
      key: `sample-${i}`,
      fields: {
        jpg: await picture(i),
        npy: boxes(i % 4),
        wav: stereo(30 + i),
        json: Buffer.from(JSON.stringify({ label: i })),
        txt: Buffer.from(`número ${i}`),
      },
    })),
  );
  await writeFile(join(folder, "a.tar"), webdatasetShard(samples).bytes);
  mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" } });
  dataset = await mill.dataset(pathToFileURL(folder).href, { fields });
});
afterAll(async () => {
  await mill.close();
  await rm(folder, { recursive: true, force: true });
});

async function epoch(workers: number) {
  const loader = dataset.loader({ batchSize: 4, shuffle: { seed: 5 }, decode: decoder, workers });
  const batches: unknown[] = [];
  for await (const { keys, columns } of loader.epoch(1)) {
    const rows = keys.map((_, row) => [columns.boxes.at(row), columns.caption.at(row)]);
    batches.push({ keys, image: columns.image.data, sound: columns.sound.data, label: columns.label.data, rows });
  }
  await loader.close();
  return batches;
}

test("every decoder gives the same batches on 0, 1, 2 and 4 decode workers", async () => {
  const [alone, ...others] = [await epoch(0), await epoch(1), await epoch(2), await epoch(4)];
  for (const other of others) expect(other).toEqual(alone);
});

test("what the decoders give is what the files say", async () => {
  const loader = dataset.loader({ batchSize: SAMPLES, decode: decoder, workers: 2 });
  for await (const { columns } of loader.epoch(0)) {
    for (let i = 0; i < SAMPLES; i++) {
      expect(columns.label.data[i]).toBe(i);
      expect(columns.caption.at(i)).toBe(`número ${i}`);
      expect(columns.boxes.at(i)).toEqual(Float32Array.from({ length: (i % 4) * 4 }, (_, at) => at / 8));
      const sound = columns.sound.data.subarray(i * 100, (i + 1) * 100);
      expect(sound.slice(0, 3)).toEqual(Int16Array.of(-40, -38, -36));
      expect(sound.slice(50, 53)).toEqual(Int16Array.of(-39, -37, -35));
      expect([...sound.slice(30 + i, 50)].every((value) => value === 0)).toBe(true);
    }
    expect(columns.image.shape).toEqual([SAMPLES, 3, 24, 24]);
    expect(columns.image.data.some((value) => value < -1) && columns.image.data.some((value) => value > 1)).toBe(true);
  }
  await loader.close();
});
