import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DiskCounters } from "../../../src/cache/disk-counters.js";
import { DiskHealth } from "../../../src/cache/disk-health.js";
import { DiskLedger } from "../../../src/cache/disk-ledger.js";
import { DiskRoom } from "../../../src/cache/disk-room.js";
import { thisProcess } from "../../../src/cache/process-identity.js";

const FILES = 24;
const BYTES = 2 ** 20;
const FS_BLOCK = 4096;
let root: string;
let ledger: DiskLedger;
let room: DiskRoom;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "millrace-room-"));
  for (const folder of ["tmp", "procs"]) await mkdir(join(root, folder));
  await writeFile(join(root, "ledger.json"), '{"used":0,"grants":{}}');
  const counters = new DiskCounters();
  const health = new DiskHealth(counters, () => undefined);
  const capacity = FILES * (BYTES + 2 * FS_BLOCK);
  ledger = new DiskLedger(root, capacity, await thisProcess(), counters, () => room.charged);
  await ledger.open();
  room = new DiskRoom({ capacity, highWatermark: 0.9, lowWatermark: 0.8, fsBlock: FS_BLOCK }, ledger, health, async () => false);
});
afterEach(async () => {
  await ledger.close();
  await rm(root, { recursive: true });
});

test("nobody is told that it is full while it is not, whoever asks while another's room is being granted", async () => {
  const asked: Promise<boolean>[] = [];
  // One a turn of the event loop, so that some ask just when a grant has come for one that waits.
  while (asked.length < FILES) {
    asked.push(room.reserve(BYTES, "referred"));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await Promise.all(asked)).toEqual(asked.map(() => true));
  expect(room.charged).toBe(FILES * room.charge(BYTES));
  expect(await room.reserve(BYTES, "referred")).toBe(false);
});
