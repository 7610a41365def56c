/** Finds what earlier processes left in a cache directory, in the background: no read waits for it. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "./file-io.js";

export interface FoundFile {
  readonly name: string;
  /** The folder's, of 256. */
  readonly folder: string;
  readonly size: number;
  readonly modifiedMs: number;
}

const FOLDER = /^[0-9a-f]{2}$/;
/** File system calls in flight at once: enough to keep a disk busy, few enough to leave libuv's threads to the reads. */
const PARALLEL = 2;

/** The files below `root`, folder by folder. `wanted` picks by name before the file is looked at. Stops between folders once aborted. Throws where `root` cannot be read. */
export async function* scanFolders(root: string, wanted: (name: string) => boolean, signal: AbortSignal): AsyncGenerator<FoundFile[]> {
  // Folders are made when first needed: to ask for those that are not there would cost a small cache most of its scan.
  const folders = (await readdir(root).catch(noneWhereMissing)).filter((name) => FOLDER.test(name));
  for (const folder of folders) {
    if (signal.aborted) return;
    const names = (await readdir(join(root, folder)).catch(() => [])).filter(wanted);
    const found: FoundFile[] = [];
    for (let i = 0; i < names.length && !signal.aborted; i += PARALLEL) {
      const facts = await Promise.all(names.slice(i, i + PARALLEL).map((name) => look(root, folder, name)));
      for (const file of facts) if (file !== undefined) found.push(file);
    }
    if (found.length > 0) yield found;
  }
}

/** What else fails must not pass for an empty directory, whose capacity would be given out a second time. */
function noneWhereMissing(error: unknown): string[] {
  if (errorCode(error) === "ENOENT") return [];
  throw error;
}

async function look(root: string, folder: string, name: string): Promise<FoundFile | undefined> {
  try {
    const facts = await stat(join(root, folder, name));
    return facts.isFile() ? { name, folder, size: facts.size, modifiedMs: facts.mtimeMs } : undefined;
  } catch {
    // Removed meanwhile.
    return undefined;
  }
}
