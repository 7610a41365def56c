/** How a member is written down: in Redis, and in a file of members. Both may have been written by anyone. */
import { z } from "zod";
import { addressOfUrl, parseAddress } from "./address.js";
import type { Announcement, FoundPeer } from "./found-peer.js";

/** Longest id, label and label name, in characters: those of Kubernetes are shorter. */
const MAX_TEXT = 256;
/** More labels than anyone gives a node; a record is read by every peer. */
const MAX_LABELS = 64;

const text = z.string().min(1).max(MAX_TEXT);
const url = z.string().refine((value) => addressOfUrl(value) !== undefined, "expected http://host:port");
const labels = z
  .record(text, z.string().max(MAX_TEXT))
  .refine((value) => Object.keys(value).length <= MAX_LABELS, `expected at most ${MAX_LABELS} labels`);
const weight = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const version = z.number().int().positive();

/** Not strict: a later version may tell more of itself. */
const announced = z.object({ id: text, url, weight, labels, version });
/** Strict, since people write it: a misspelt weight must not count as none. An address alone will do. */
const listed = z.preprocess(
  (value) => (typeof value === "string" && parseAddress(value) !== undefined ? { url: `http://${value}` } : value),
  z.strictObject({ url, id: text.optional(), weight: weight.optional(), labels: labels.optional(), version: version.optional() }),
);
const file = z.array(listed);

export function formatAnnouncement({ id, url, weight, labels, version }: Announcement): string {
  return JSON.stringify({ id, url, weight, labels, version });
}

/** The peer of an announcement, or a line that says what is wrong with it. */
export function parseAnnouncement(json: string): FoundPeer | string {
  const record = parsed(announced, json);
  return typeof record === "string" ? record : foundPeer(record);
}

/** The peers of a file: `["node1:7070", { "url": "http://node2:7070", "id": "b" }]`. Or a line that says what is wrong with it. */
export function parseMembersFile(json: string): FoundPeer[] | string {
  const records = parsed(file, json);
  return typeof records === "string" ? records : records.map(foundPeer);
}

function parsed<T>(schema: z.ZodType<T>, json: string): T | string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return "not JSON";
  }
  const result = schema.safeParse(value);
  return result.success ? result.data : z.prettifyError(result.error).replace(/\s*\n\s*/g, " ");
}

function foundPeer({ url, ...rest }: z.infer<typeof announced> | z.infer<typeof listed>): FoundPeer {
  const known = Object.entries(rest).filter(([, value]) => value !== undefined);
  return { ...addressOfUrl(url)!, ...Object.fromEntries(known) };
}
