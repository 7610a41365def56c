import { stat } from "node:fs/promises";
import { errorCode } from "../cache/file-io.js";
import type { Journal } from "./save-journal.js";
import type { Spool } from "./save-spool.js";

/** Removes the journal of a save whose data is gone, all of it, unless it is another process's; whether it did. It would be told at each flush of every mill. */
export async function removeLost(spool: Spool, { files }: Journal): Promise<boolean> {
  if (!(await areGone(files.map((_, n) => spool.dataPath(n))))) return false;
  await spool.remove().catch(() => {});
  return areGone([spool.journalPath]);
}

async function areGone(names: readonly string[]): Promise<boolean> {
  const gone = names.map((name) =>
    stat(name).then(
      () => false,
      (error) => errorCode(error) === "ENOENT",
    ),
  );
  return (await Promise.all(gone)).every(Boolean);
}
