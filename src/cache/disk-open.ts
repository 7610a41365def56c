/** Opening a cache directory: its folders, its ledger, and in the background what earlier processes left. */
import { mkdir, readdir, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MillraceError } from "../errors.js";
import { type DirectoryParts, type DiskBlock, DiskDirectory } from "./disk-directory.js";
import { CLAIMS, HEADER_BYTES, LAYOUT, parseBlockName, parseMetaName, SAVES } from "./disk-layout.js";
import { scanFolders } from "./disk-scan.js";
import { removeFile } from "./file-io.js";
import { thisProcess } from "./process-identity.js";

/** Where statfs does not say. */
const FS_BLOCK = 4096;
const TEMP_NAME = /^(\d+-[0-9a-f]{12})-/;

/** Throws MILLRACE_CONFIG, naming the option, where the directory cannot be written. */
export async function openDirectory(parts: Omit<DirectoryParts, "root" | "fsBlock" | "me">, option: string): Promise<DiskDirectory> {
  const root = join(parts.path, LAYOUT);
  const me = await thisProcess();
  try {
    const created = await mkdir(root, { recursive: true });
    for (const folder of ["blocks", "meta", "tmp", "procs", CLAIMS, SAVES]) await mkdir(join(root, folder), { recursive: true });
    // Only in a folder that is new is it certain that nothing is used.
    if (created !== undefined) await writeFile(join(root, "ledger.json"), '{"used":0,"grants":{}}', { flag: "wx" }).catch(() => {});
    const fsBlock = await statfs(root).then(
      (facts) => (facts.bsize >= 512 && facts.bsize <= 2 ** 20 ? facts.bsize : FS_BLOCK),
      () => FS_BLOCK,
    );
    const directory = new DiskDirectory({ ...parts, root, fsBlock, me });
    await directory.ledger.open();
    return directory;
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: cannot be used as a cache directory (${reason}); name one that this user can write`,
      {
        cause,
      },
    );
  }
}

/** Counts what earlier processes left and removes the temporary files of those that died. Ends early, without an error, once aborted. */
export async function scanDirectory(directory: DiskDirectory, signal: AbortSignal): Promise<void> {
  await removeStale(directory, signal);
  const { counters } = directory;
  const left: { readonly block: DiskBlock; readonly modifiedMs: number }[] = [];
  const isBlock = (name: string): boolean => parseBlockName(name) !== undefined || foreign(directory);
  for await (const files of scanFolders(join(directory.root, "blocks"), isBlock, signal))
    for (const file of files) {
      const { objectId, block, blockSize } = parseBlockName(file.name)!;
      const held = directory.takeIn(objectId, block, blockSize, Math.max(0, file.size - HEADER_BYTES));
      if (held !== undefined) left.push({ block: held, modifiedMs: file.modifiedMs });
    }
  const isMeta = (name: string): boolean => parseMetaName(name) || foreign(directory);
  for await (const files of scanFolders(join(directory.root, "meta"), isMeta, signal))
    for (const file of files) directory.meta.takeIn(file.name, Math.max(0, file.size - HEADER_BYTES));
  if (signal.aborted) return;
  left.sort((a, b) => a.modifiedMs - b.modifiedMs);
  directory.index.age(left.map((one) => one.block));
  directory.scanned = true;
  counters.scans++;
  await directory.health.attempt(() => directory.ledger.settle(0));
}

/** Counts a file that is not of this layout; it is left alone and takes nothing of the capacity. */
function foreign(directory: DiskDirectory): false {
  directory.counters.foreignFiles++;
  return false;
}

async function removeStale(directory: DiskDirectory, signal: AbortSignal): Promise<void> {
  await removeClaims(directory);
  const folder = join(directory.root, "tmp");
  const dead = new Map<string, boolean>();
  for (const name of await readdir(folder).catch(() => [])) {
    if (signal.aborted) return;
    const instance = TEMP_NAME.exec(name)?.[1];
    if (instance === undefined) continue;
    if (!dead.has(instance)) dead.set(instance, await directory.ledger.dead(instance));
    if (dead.get(instance) === true && (await directory.health.attempt(() => removeFile(join(folder, name)))) === true)
      directory.counters.staleFilesRemoved++;
  }
}

/** Whoever wants a dead process's claim takes it over; those that nobody wants go when nobody else is there. */
async function removeClaims(directory: DiskDirectory): Promise<void> {
  const folder = join(directory.root, CLAIMS);
  const names = await readdir(folder).catch(() => []);
  if (names.length === 0 || (await directory.ledger.processes()) > 1) return;
  for (const name of names) await directory.health.attempt(() => removeFile(join(folder, name)));
}
