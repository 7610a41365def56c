/** What is known of a checkpoint on the local disk that is still to be uploaded: one small JSON file beside its data. */
import { open } from "node:fs/promises";
import { removeFile } from "../cache/file-io.js";

/** One object of a save. */
export interface SpooledFile {
  /** As the caller wrote it. */
  readonly path: string;
  readonly size: number;
  /** CRC-32C of each piece of `pieceBytes`. */
  readonly crcs: readonly number[];
}

export interface Journal {
  readonly version: 1;
  /** When the save was asked for, which is its place among those of its name, and not when it was on the disk. */
  readonly savedMs: number;
  /** Its place among the saves of its process that were asked for in the same millisecond. */
  readonly turn: number;
  /** URI of the last file: where the path leads elsewhere by now, it is not uploaded. */
  readonly target: string;
  readonly keep: number | undefined;
  readonly pieceBytes: number;
  readonly files: readonly SpooledFile[];
  /** Shards at the origin, by key, that go when it is uploaded: added before that, since the index that named them is not there after it. */
  readonly replaced?: readonly string[];
  /** ETags under which earlier saves of its name were uploaded from here since: nobody has saved it anew by these. */
  readonly earlier?: readonly string[];
}

/** What a journal begins with, up to its version. */
const HEAD = '{"version":';

export function formatJournal({ version, ...rest }: Journal): string {
  return JSON.stringify({ version, ...rest });
}

/** Undefined where it is damaged, or of another version; "over" where it could not be removed. */
export function parseJournal(text: string): Journal | "over" | undefined {
  try {
    const journal = JSON.parse(text) as { readonly [Name in keyof Journal]?: unknown };
    if (journal.version === 0) return "over";
    return isJournal(journal) ? journal : undefined;
  } catch {
    return undefined;
  }
}

function isJournal(journal: { readonly [Name in keyof Journal]?: unknown }): journal is Journal {
  const { version, savedMs, turn, target, keep, pieceBytes, files, replaced = [], earlier = [] } = journal;
  return (
    version === 1 &&
    typeof target === "string" &&
    [savedMs, turn].every(Number.isFinite) &&
    Number.isSafeInteger(pieceBytes) &&
    Number(pieceBytes) > 0 &&
    (keep === undefined || Number.isSafeInteger(keep)) &&
    Array.isArray(files) &&
    files.length > 0 &&
    files.every(isFile) &&
    [replaced, earlier].every(areStrings)
  );
}

function areStrings(list: unknown): boolean {
  return Array.isArray(list) && list.every((one) => typeof one === "string");
}

function isFile(file: { readonly [Name in keyof SpooledFile]?: unknown } | null): file is SpooledFile {
  const { path, size, crcs } = file ?? {};
  return typeof path === "string" && Number.isSafeInteger(size) && Array.isArray(crcs) && crcs.every(Number.isSafeInteger);
}

/**
 * Removes a journal. Before that it says itself, by one byte, that it is over: one that cannot be removed, or is there again after a loss of power, must
 * not have its checkpoint uploaded over those that have come since. Throws where neither can be done.
 */
export async function endJournal(path: string): Promise<void> {
  const said = await sayOver(path).catch(() => false);
  await removeFile(path).catch((error) => {
    if (!said) throw error;
  });
}

async function sayOver(path: string): Promise<boolean> {
  const file = await open(path, "r+");
  try {
    await file.write("0", HEAD.length);
    await file.sync();
    return true;
  } finally {
    await file.close();
  }
}
