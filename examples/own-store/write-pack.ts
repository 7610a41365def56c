import { writeFile } from "node:fs/promises";
import type { PackEntry } from "./pack-store.js";

/** Writes the file that `pack-store.ts` reads. */
export async function writePack(file: string, objects: Readonly<Record<string, string>>): Promise<void> {
  // Ascending in UTF-8 bytes: the order that a store's list has to have.
  const paths = Object.keys(objects).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const bodies = paths.map((path) => Buffer.from(objects[path]!));
  let begin = 0;
  const entries = paths.map((path, i): PackEntry => {
    const size = bodies[i]!.length;
    begin += size;
    return { path, begin: begin - size, size };
  });
  const index = Buffer.from(JSON.stringify(entries));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(index.length);
  await writeFile(file, Buffer.concat([head, index, ...bodies]));
}
