import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { throwIfAborted } from "../errors.js";
import { TEMP_MARK } from "./file-list.js";
import { releasedParts } from "./released-parts.js";
import type { WriteOptions } from "./store.js";

/** Writes the file beside its place and renames it there once it is on the disk, so that no one ever sees half of it. */
export async function writeFileWhole(name: string, parts: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<BigIntStats> {
  const folder = dirname(name);
  await mkdir(folder, { recursive: true });
  const temp = `${folder}/${TEMP_MARK}${randomUUID()}`;
  try {
    const stats = await fillFile(temp, parts, options);
    throwIfAborted(options.signal, "The write");
    await rename(temp, name);
    await syncFolder(folder);
    return stats;
  } catch (error) {
    await rm(temp, { force: true });
    throw error;
  }
}

async function fillFile(
  name: string,
  parts: AsyncIterable<Uint8Array>,
  { signal, onProgress, release }: WriteOptions,
): Promise<BigIntStats> {
  const handle = await open(name, "wx");
  try {
    let written = 0;
    for await (const part of releasedParts(parts, release)) {
      throwIfAborted(signal, "The write");
      await writeAll(handle, part);
      written += part.length;
      onProgress?.(written);
    }
    await handle.sync();
    // Neither inode, mtime nor size changes by the rename.
    return await handle.stat({ bigint: true });
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, part: Uint8Array): Promise<void> {
  for (let done = 0; done < part.length; ) done += (await handle.write(part, done)).bytesWritten;
}

/** Makes the rename itself last. Some file systems cannot sync a folder; the file is whole there all the same. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
