/** The few file operations of the disk tier, on callbacks: fs/promises costs some 40 % more CPU a call for its FileHandles. */
import { close, open, readv, rename, unlink, writev } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

/** Fills the targets from the start of the file; resolves to the bytes read, fewer where the file is shorter. */
export async function readFileInto(path: string, targets: readonly Uint8Array[]): Promise<number> {
  const fd = await call<number>((done) => open(path, "r", done));
  try {
    let read = 0;
    for (let left: Uint8Array[] = [...targets]; left.length > 0; ) {
      const got = await call<number>((done) => readv(fd, left, read, done));
      if (got === 0) break;
      read += got;
      left = rest(left, got);
    }
    return read;
  } finally {
    // A slot is given back only when its I/O has ended: every read above was awaited.
    await call<void>((done) => close(fd, done));
  }
}

/** Writes the parts to `temp`, then gives the file its name: it is there whole or not at all. `temp` is removed where that fails. */
export async function writeFileAtomically(temp: string, path: string, parts: readonly Uint8Array[]): Promise<void> {
  try {
    const fd = await call<number>((done) => open(temp, "wx", 0o644, done));
    try {
      let written = 0;
      for (let left: Uint8Array[] = [...parts]; left.length > 0; ) {
        const put = await call<number>((done) => writev(fd, left, written, done));
        written += put;
        left = rest(left, put);
      }
    } finally {
      await call<void>((done) => close(fd, done));
    }
    await renameInto(temp, path);
  } catch (error) {
    await removeFile(temp).catch(() => false);
    throw error;
  }
}

/** The folder is made when its first file comes: a cache directory has 512, most of them of no use to a small cache. */
async function renameInto(temp: string, path: string): Promise<void> {
  try {
    await call<void>((done) => rename(temp, path, done));
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    await mkdir(dirname(path), { recursive: true });
    await call<void>((done) => rename(temp, path, done));
  }
}

/** False where there was no such file. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await call<void>((done) => unlink(path, done));
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

export function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function rest(parts: Uint8Array[], done: number): Uint8Array[] {
  let skip = done;
  return parts.flatMap((part) => {
    const cut = Math.min(skip, part.length);
    skip -= cut;
    return cut === part.length ? [] : [part.subarray(cut)];
  });
}

function call<T>(start: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error === null || error === undefined ? resolve(value as T) : reject(error)));
  });
}
