import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { byBytes, type PackEntry } from "./pack-store.js";

/** Writes the file that `pack-store.ts` reads. */
export async function writePack(file: string, objects: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  const paths = Object.keys(objects).sort(byBytes);
  const bodies = paths.map((path) => Buffer.from(objects[path] as Uint8Array));
  let begin = 0;
  const entries = paths.map((path, i): PackEntry => {
    const size = bodies[i]!.length;
    begin += size;
    return { path, begin: begin - size, size, etag: createHash("sha256").update(bodies[i]!).digest("hex") };
  });
  const index = Buffer.from(JSON.stringify(entries));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(index.length);
  await writeFile(file, Buffer.concat([head, index, ...bodies]));
}
