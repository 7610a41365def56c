import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GroupClaims } from "../../../src/cache/group-claims.js";
import { type ProcessIdentity, thisProcess } from "../../../src/cache/process-identity.js";
import { deferred } from "../../../src/util/deferred.js";
import { ManualClock } from "../../support/manual-clock.js";

let folder: string;
let me: ProcessIdentity;
let another: ProcessIdentity;
const { signal } = new AbortController();
const never = async () => false;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-claims-"));
  me = await thisProcess();
  another = await thisProcess();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("fetches at once where nobody else does, and holds the claim meanwhile", async () => {
  const claims = new GroupClaims(folder, me, new ManualClock());
  let during: string[] = [];
  const fetch = async () => {
    during = await readdir(folder);
  };
  await claims.once("o-0", { arrived: never, fetch, signal });
  expect(during).toEqual(["o-0"]);
  expect(await readdir(folder)).toEqual([]);
});

it("fetches nothing that has arrived before the claim was had", async () => {
  const claims = new GroupClaims(folder, me, new ManualClock());
  const fetch = () => Promise.reject(new Error("fetched"));
  await claims.once("o-0", { arrived: async () => true, fetch, signal });
  expect(await readdir(folder)).toEqual([]);
});

it("shares a claim within one process, and drops it after the last", async () => {
  const claims = new GroupClaims(folder, me, new ManualClock());
  const [first, second] = [deferred<void>(), deferred<void>()];
  const one = claims.once("o-0", { arrived: never, fetch: () => first.promise, signal });
  const two = claims.once("o-0", { arrived: never, fetch: () => second.promise, signal });
  first.resolve();
  await one;
  expect(await readdir(folder)).toEqual(["o-0"]);
  second.resolve();
  await two;
  expect(await readdir(folder)).toEqual([]);
});

it("looks again and again while another process fetches, and takes what it brings", async () => {
  await writeFile(join(folder, "o-0"), JSON.stringify(another));
  const clock = new ManualClock(true);
  let looks = 0;
  const fetch = () => Promise.reject(new Error("fetched"));
  await new GroupClaims(folder, me, clock).once("o-0", { arrived: async () => ++looks === 6, fetch, signal });
  expect(clock.sleeps).toEqual([5, 10, 20, 40, 50, 50]);
});

it("fetches too where another process does not come to an end, and leaves it its claim", async () => {
  await writeFile(join(folder, "o-0"), JSON.stringify(another));
  const clock = new ManualClock(true);
  let fetched = 0;
  const fetch = async () => void fetched++;
  const claims = new GroupClaims(folder, me, clock);
  await claims.once("o-0", { arrived: never, fetch, signal });
  expect(fetched).toBe(1);
  expect(clock.now()).toBeLessThan(10_100);
  expect(claims.takeovers).toBe(0);
  expect(await readdir(folder)).toEqual(["o-0"]);
});

it("ends the wait, and the claim, with the read", async () => {
  await writeFile(join(folder, "o-0"), JSON.stringify(another));
  const controller = new AbortController();
  const clock = new ManualClock();
  const waiting = new GroupClaims(folder, me, clock).once("o-0", { arrived: never, fetch: async () => {}, signal: controller.signal });
  controller.abort();
  await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  expect(clock.pending).toBe(0);
});

it("drops the claim where the fetch fails", async () => {
  const claims = new GroupClaims(folder, me, new ManualClock());
  const fetch = () => Promise.reject(new Error("no origin"));
  await expect(claims.once("o-0", { arrived: never, fetch, signal })).rejects.toThrow("no origin");
  expect(await readdir(folder)).toEqual([]);
});
