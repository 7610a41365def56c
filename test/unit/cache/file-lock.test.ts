import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FileLock } from "../../../src/cache/file-lock.js";
import { isRunning, type ProcessIdentity, thisProcess } from "../../../src/cache/process-identity.js";
import { IN_TIME } from "../../support/in-time.js";

let folder: string;
let path: string;
let other: ChildProcess;
let holder: ProcessIdentity;
let mine: ProcessIdentity;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-lock-"));
  path = join(folder, "lock");
  other = spawn("sleep", ["60"], { stdio: "ignore" });
  // The ages below are exact, however long anything takes.
  vi.spyOn(Date, "now").mockReturnValue(Date.now());
  mine = await thisProcess();
  holder = { ...mine, instance: `${other.pid}-00000000000a`, pid: other.pid! };
});
afterEach(async () => {
  vi.restoreAllMocks();
  links.code = undefined;
  other.kill("SIGKILL");
  await rm(folder, { recursive: true });
});

/** Held by `who`, who was last heard of so many milliseconds ago. */
async function held(who: ProcessIdentity, agoMs: number): Promise<void> {
  await writeFile(path, JSON.stringify(who));
  const then = new Date(Date.now() - agoMs);
  await utimes(path, then, then);
}

async function take(): Promise<boolean> {
  const lock = new FileLock(path, mine, { lockTakeovers: 0, lockTimeouts: 0 });
  const taken = await lock.tryTake();
  if (taken) await lock.drop();
  return taken;
}

const links: { code: string | undefined } = vi.hoisted(() => ({ code: undefined }));
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const link: typeof real.link = (from, to) =>
    links.code === undefined ? real.link(from, to) : Promise.reject(Object.assign(new Error(links.code), { code: links.code }));
  return { ...real, link };
});

const stopped = () => {
  other.kill("SIGSTOP");
  return vi.waitFor(async () => expect(await isRunning(holder, mine)).toBe(false), IN_TIME);
};

describe("a holder that is late", () => {
  test("is waited for where it is seen to run, but not for ever", async () => {
    await held(holder, 3_000);
    expect(await take()).toBe(false);
    await held(holder, 6_000);
    expect(await take()).toBe(true);
  });

  test("is soon passed over where it was stopped", async () => {
    await stopped();
    await held(holder, 0);
    expect(await take()).toBe(false);
    await held(holder, 1_000);
    expect(await take()).toBe(true);
  });

  test("is judged by its age alone where it cannot be seen", async () => {
    const elsewhere = { ...holder, host: "another" };
    expect(await isRunning(elsewhere, mine)).toBeUndefined();
    await held(elsewhere, 1_000);
    expect(await take()).toBe(false);
    await held(elsewhere, 2_000);
    expect(await take()).toBe(true);
  });
});

test("a holder that is gone is not waited for", async () => {
  const exited = new Promise((resolve) => other.once("exit", resolve));
  other.kill("SIGKILL");
  await exited;
  expect(await isRunning(holder, mine)).toBeUndefined();
  await held(holder, 0);
  expect(await take()).toBe(true);
});

test("says whose it is as soon as it is there", async () => {
  const seen = new Set<string>();
  const look = () => {
    try {
      seen.add(readFileSync(path, "utf8"));
    } catch {
      // It is not there just now.
    }
  };
  let ended = false;
  const taking = (async () => {
    for (let turn = 0; turn < 200; turn++) await take();
  })().finally(() => {
    ended = true;
  });
  for (; !ended; await new Promise((resolve) => setImmediate(resolve))) look();
  await taking;
  expect([...seen]).toEqual([JSON.stringify(mine)]);
  expect(await readdir(folder)).toEqual([]);
});

test("is had where the file system has no links, too", async () => {
  links.code = "EPERM";
  expect(await take()).toBe(true);
  await held(holder, 0);
  expect(await take()).toBe(false);
  expect(await readdir(folder)).toEqual(["lock"]);
});
