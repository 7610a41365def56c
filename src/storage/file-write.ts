import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { MillraceError, throwIfAborted } from "../errors.js";
import { writeAll } from "../util/write-all.js";
import { TEMP_MARK } from "./file-list.js";
import { releasedParts } from "./released-parts.js";
import type { WriteOptions } from "./store.js";

/** Nobody writes a file for a day without a byte: what is older is of a process that was killed. */
const STALE_MS = 24 * 3_600_000;
/** What file systems say that cannot sync a folder; the file is whole there all the same. */
const UNSYNCED: ReadonlySet<string> = new Set(["EINVAL", "ENOTSUP", "ENOSYS", "EISDIR", "EBADF", "EPERM", "EACCES"]);
/** Folders that were looked at: once a process is enough. */
const swept = new Set<string>();

/**
 * Writes the file beside its place, or as `temp` in the same file system, and renames it there once it is on the disk, so that no one ever sees half of it.
 * Throws MILLRACE_CONFIG for a folder.
 */
export async function writeFileWhole(
  name: string,
  parts: AsyncIterable<Uint8Array>,
  options: WriteOptions,
  temp: string = `${dirname(name)}/${TEMP_MARK}${randomUUID()}`,
): Promise<BigIntStats> {
  const folder = dirname(name);
  if ((await stat(name).catch(() => undefined))?.isDirectory())
    throw new MillraceError("MILLRACE_CONFIG", `file://${name}: there is a folder of this name: give the name of a file in it`);
  await mkdir(folder, { recursive: true });
  await sweep(folder);
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

/** Makes the rename itself last. Throws where the disk fails at it. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, "r");
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    if (!UNSYNCED.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** Removes what killed processes have left there; best effort. */
async function sweep(folder: string): Promise<void> {
  if (swept.has(folder)) return;
  swept.add(folder);
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(TEMP_MARK))) {
    const file = `${folder}/${name}`;
    const facts = await stat(file).catch(() => undefined);
    if (facts !== undefined && Date.now() - facts.mtimeMs > STALE_MS) await rm(file, { force: true }).catch(() => {});
  }
}
