/** Finds what earlier processes left in a cache directory, in the background: no read waits for it. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { hex2 } from "./disk-layout.js";

export interface FoundFile {
  readonly name: string;
  /** The folder's, of 256. */
  readonly folder: string;
  readonly size: number;
  readonly modifiedMs: number;
}

/** File system calls in flight at once: enough to keep a disk busy, few enough to leave libuv's threads to the reads. */
const PARALLEL = 2;

/** The files below `root`, folder by folder. `wanted` picks by name before the file is looked at. Stops between folders once aborted. */
export async function* scanFolders(root: string, wanted: (name: string) => boolean, signal: AbortSignal): AsyncGenerator<FoundFile[]> {
  for (let n = 0; n < 256 && !signal.aborted; n++) {
    const folder = hex2(n);
    const names = (await readdir(join(root, folder)).catch(() => [])).filter(wanted);
    const found: FoundFile[] = [];
    for (let i = 0; i < names.length && !signal.aborted; i += PARALLEL) {
      const facts = await Promise.all(names.slice(i, i + PARALLEL).map((name) => look(root, folder, name)));
      for (const file of facts) if (file !== undefined) found.push(file);
    }
    if (found.length > 0) yield found;
  }
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
