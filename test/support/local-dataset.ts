/** A dataset written to a temporary folder: for tests that need no server. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DatasetOptions, type MadeDataset, makeDataset } from "./datasets/index.js";

export interface LocalDataset {
  readonly made: MadeDataset;
  readonly folder: string;
  /** `file:///…` of the folder. */
  readonly uri: string;
  remove(): Promise<void>;
}

export async function localDataset(options: DatasetOptions): Promise<LocalDataset> {
  const made = makeDataset(options);
  const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  for (const [key, bytes] of made.objects) {
    const path = join(folder, key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  }
  return { made, folder, uri: pathToFileURL(folder).href, remove: () => rm(folder, { recursive: true, force: true }) };
}
