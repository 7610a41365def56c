import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** A new empty folder, its `file:` URI, and how to remove it with everything in it. */
export async function temporaryFolder(): Promise<{ path: string; uri: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "millrace-example-"));
  return { path, uri: pathToFileURL(path).href, remove: () => rm(path, { recursive: true }) };
}
