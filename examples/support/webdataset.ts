/** Writes small WebDataset shards: plain tar files, in which the members of one sample follow each other and share a key. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** One sample: its key, and its members by extension. */
export interface WebSample {
  readonly key: string;
  readonly members: Readonly<Record<string, Uint8Array | string>>;
}

/** Tar's unit: headers are one block, contents are padded to whole blocks. */
const BLOCK = 512;

/** Writes the samples to `shard-000000.tar` and so on, `perShard` samples each. */
export async function writeShards(folder: string, samples: readonly WebSample[], perShard: number): Promise<void> {
  for (let first = 0; first < samples.length; first += perShard) {
    const name = `shard-${String(first / perShard).padStart(6, "0")}.tar`;
    const members = samples
      .slice(first, first + perShard)
      .flatMap(({ key, members }) =>
        Object.entries(members).map(([extension, content]) => tarMember(`${key}.${extension}`, Buffer.from(content as Uint8Array))),
      );
    await writeFile(join(folder, name), Buffer.concat([...members, Buffer.alloc(2 * BLOCK)]));
  }
}

function tarMember(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  // The checksum counts its own field as spaces.
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}
