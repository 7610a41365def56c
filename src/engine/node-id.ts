/** The name by which peers know a node: it stays, whatever its address. */
import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeFile } from "../cache/file-io.js";

/** Beside the cache directory's layout, which is removed with it. */
const ID_FILE = "node-id";

/** Of processes that make one at once, the first one's counts: it appears with its content. */
export async function storedId(directory: string): Promise<string> {
  const path = join(directory, ID_FILE);
  const fresh = randomUUID();
  const temp = `${path}.${fresh}`;
  try {
    await mkdir(directory, { recursive: true });
    await writeFile(temp, fresh, { flag: "wx" });
    await link(temp, path);
  } catch {
    // There is one, or none can be kept: what is read says which.
  }
  await removeFile(temp).catch(() => false);
  const id = await readFile(path, "utf8").catch(() => "");
  // A crash may leave it empty; one that cannot be kept is a new node's at each start.
  return /^[0-9a-f-]{36}$/.test(id) ? id : randomUUID();
}
