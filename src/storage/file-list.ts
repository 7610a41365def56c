import type { BigIntStats, Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { throwIfAborted } from "../errors.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { fileError, hasCode } from "./file-errors.js";
import type { ListOptions } from "./store.js";

/** In the name of every file that a write has not finished yet; such files are not listed. */
export const TEMP_MARK = ".millrace-tmp-";

/** Stats in flight at once: enough to keep libuv's 4 threads busy, few enough to stay fair to reads. */
const STATS_AT_ONCE = 32;

interface Entry {
  /** Path below the root; a folder's ends in a slash, which puts it where its contents sort. */
  readonly path: string;
  readonly stats: BigIntStats;
}

/**
 * The regular files below `root` whose path begins with `prefix`, in order of the path's UTF-8 bytes, one folder in memory at a time.
 * Links are followed, but not to a folder that holds the link. Files that vanish meanwhile are left out.
 */
export async function* listFiles(root: string, prefix: string, options: ListOptions): AsyncIterable<Entry> {
  const slash = prefix.lastIndexOf("/");
  yield* walk(root, prefix.slice(0, slash + 1), prefix, options);
}

async function* walk(root: string, folder: string, prefix: string, options: ListOptions): AsyncIterable<Entry> {
  const { startAfter = "" } = options;
  const names = await readFolder(`${root}/${folder}`);
  const paths = names.map((entry) => (entry.isDirectory() ? `${folder}${entry.name}/` : `${folder}${entry.name}`));
  // A link may turn out to be a folder, which moves it; hence resolve links before sorting.
  for (const [i, entry] of names.entries())
    if (entry.isSymbolicLink() && (await isOpenFolder(root, folder, paths[i]!))) paths[i] = `${paths[i]}/`;
  const wanted = paths
    .filter((path) => (path.startsWith(prefix) || (path.endsWith("/") && prefix.startsWith(path))) && mayFollow(path, startAfter))
    .sort(compareUtf8);
  for (let i = 0; i < wanted.length; ) {
    throwIfAborted(options.signal, "The listing");
    if (wanted[i]!.endsWith("/")) {
      yield* walk(root, wanted[i++]!, prefix, options);
      continue;
    }
    const files: string[] = [];
    while (i < wanted.length && files.length < STATS_AT_ONCE && !wanted[i]!.endsWith("/")) files.push(wanted[i++]!);
    const stats = await Promise.all(files.map((path) => statFile(`${root}/${path}`)));
    for (const [n, path] of files.entries()) if (stats[n] !== undefined) yield { path, stats: stats[n] };
  }
}

/** False where neither the path nor, for a folder, anything in it comes after `startAfter`. */
function mayFollow(path: string, startAfter: string): boolean {
  return compareUtf8(path, startAfter) > 0 || (path.endsWith("/") && startAfter.startsWith(path));
}

async function readFolder(path: string): Promise<Dirent[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((e) => (e.isFile() || e.isDirectory() || e.isSymbolicLink()) && !e.name.includes(TEMP_MARK));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return [];
    throw fileError(error, { uri: `file://${path}` });
  }
}

/** True where the link leads to a folder that is not one of those above it. */
async function isOpenFolder(root: string, folder: string, link: string): Promise<boolean> {
  try {
    if (!(await stat(`${root}/${link}`)).isDirectory()) return false;
    const [target, above] = await Promise.all([realpath(`${root}/${link}`), realpath(`${root}/${folder}`)]);
    return !`${above}/`.startsWith(target === "/" ? "/" : `${target}/`);
  } catch {
    return false;
  }
}

async function statFile(path: string): Promise<BigIntStats | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isFile() ? stats : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ELOOP")) return undefined;
    throw fileError(error, { uri: `file://${path}` });
  }
}
