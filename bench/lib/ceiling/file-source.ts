/** Ranges of files that lie on disk (and in the page cache), by libuv's threads. */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { RecordRange } from "./layout.js";
import type { RangeSource } from "./source.js";

export class FileSource implements RangeSource {
  readonly #root: string;
  readonly #files = new Map<string, Promise<FileHandle>>();

  /** `root`: where the server has its files. */
  constructor(root: string) {
    this.#root = root;
  }

  async read({ path, begin, bytes }: RecordRange, slot: Buffer): Promise<void> {
    const file = this.#files.get(path) ?? open(join(this.#root, path));
    this.#files.set(path, file);
    const { bytesRead } = await (await file).read(slot, 0, bytes, begin);
    if (bytesRead !== bytes) throw new Error(`${path}: ${bytesRead} of ${bytes} bytes`);
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) await (await file).close();
  }
}
