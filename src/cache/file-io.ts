/** The few file operations of the disk tier. */
import { closeSync, open, readv } from "node:fs";
import { access, type FileHandle, mkdir, open as openHandle, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { WRITE_BYTES } from "../util/write-all.js";

/** Numbers, not FileHandles, where blocks are read: a handle's own cost is 60 µs a block of the engine's thread, of 90. */
const openFile = promisify(open);
const readFile = promisify(readv);

/** Of one write: a head does not take a call of its own. */
const CALL_BYTES = WRITE_BYTES + 4096;

/** Fills the targets from the start of the file; resolves to the bytes read, fewer where the file is shorter. */
export async function readFileInto(path: string, targets: readonly Uint8Array[]): Promise<number> {
  const file = await openFile(path, "r");
  try {
    // Every read is awaited, also when its caller has lost interest: a slot is given back only when its I/O has ended.
    return await transfer(targets, async (left, at) => (await readFile(file, left, at)).bytesRead);
  } finally {
    // After reading it waits for nothing on a local file system; handed to another thread it takes ten times as long, and the reader waits for that.
    closeSync(file);
  }
}

/** Writes the parts to `temp`, then gives the file its name: it is there whole or not at all. `temp` is removed where that fails. */
export async function writeFileAtomically(temp: string, path: string, parts: readonly Uint8Array[]): Promise<void> {
  try {
    const file: FileHandle = await openHandle(temp, "wx", 0o644);
    try {
      await transfer(parts, async (left, at) => (await file.writev(head(left, CALL_BYTES), at)).bytesWritten);
    } finally {
      await file.close();
    }
    await renameInto(temp, path);
  } catch (error) {
    await removeFile(temp).catch(() => false);
    throw error;
  }
}

/** Gives a file another name and another head of `length` bytes, made of the old one. Where that fails midway, the head may be new and the name old. */
export async function renameFile(from: string, to: string, length: number, edit: (head: Uint8Array) => Uint8Array): Promise<void> {
  const file = await openHandle(from, "r+");
  try {
    const head = new Uint8Array(length);
    await file.read(head, 0, length, 0);
    await file.write(edit(head), 0, length, 0);
  } finally {
    await file.close();
  }
  await renameInto(from, to);
}

export function fileExists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** False where there was no such file. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

export function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** The folder is made when its first file comes: a cache directory has 512, most of them of no use to a small cache. */
async function renameInto(temp: string, path: string): Promise<void> {
  try {
    await rename(temp, path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    await mkdir(dirname(path), { recursive: true });
    await rename(temp, path);
  }
}

/** Repeats a call that may do only part of the work; ends early where it does nothing more. */
async function transfer(parts: readonly Uint8Array[], call: (left: Uint8Array[], at: number) => Promise<number>): Promise<number> {
  let done = 0;
  for (let left = parts.filter((part) => part.length > 0); left.length > 0; ) {
    const moved = await call(left, done);
    if (moved === 0) break;
    done += moved;
    left = rest(left, moved);
  }
  return done;
}

/** The first `bytes` of them. */
function head(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let room = bytes;
  return parts.flatMap((part) => {
    const cut = Math.min(room, part.length);
    room -= cut;
    return cut === 0 ? [] : [part.subarray(0, cut)];
  });
}

/** All but the first `done` bytes of them. */
function rest(parts: Uint8Array[], done: number): Uint8Array[] {
  let skip = done;
  return parts.flatMap((part) => {
    const cut = Math.min(skip, part.length);
    skip -= cut;
    return cut === part.length ? [] : [part.subarray(cut)];
  });
}
