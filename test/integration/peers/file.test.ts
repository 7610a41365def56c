/** Discovery by a file of members: the two ways such a file changes, and files that are not right. */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { SETTLE_MS } from "../../../src/peers/discovery/engine-watch.js";
import { IN_TIME } from "../../support/in-time.js";
import { openOne, type TestDiscovery } from "../../support/peers/discovery.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-members-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
});
const member = (name: string) => `["${name}:7070"]`;

/** Waits until the watcher has ended the pause, and for the look that follows. */
async function afterEvent({ clock, discovery, isPausing }: TestDiscovery): Promise<void> {
  const { looks } = discovery.stats()[0]!;
  await vi.waitFor(() => expect(clock.sleeps.at(-1)).toBe(SETTLE_MS), IN_TIME);
  await clock.advance(SETTLE_MS);
  await vi.waitFor(() => expect(discovery.stats()[0]!.looks > looks && isPausing()).toBe(true), IN_TIME);
}

test("addresses and members, as much as is known of each", async () => {
  const file = join(folder, "members.json");
  await writeFile(
    file,
    JSON.stringify([
      "Node1:7070",
      { url: "http://node2:7070", id: "b", weight: 2, labels: { node: "n2" } },
      { url: "http://h:1", id: "me" },
    ]),
  );
  const { discovery } = await openOne(`file:${file}`);
  expect(discovery.members()).toEqual([
    { host: "node1", port: 7070 },
    { host: "node2", port: 7070, id: "b", weight: 2, labels: { node: "n2" } },
  ]);
});

test("a file put in its place is read at once", async () => {
  const file = join(folder, "members.json");
  await writeFile(file, member("a"));
  const opened = await openOne(`file:${file}`);
  await writeFile(join(folder, "new.json"), member("b"));
  await rename(join(folder, "new.json"), file);
  await afterEvent(opened);
  expect(opened.found()).toEqual(["b 7070"]);
});

test("a ConfigMap's folder that is swapped by its symlink is read at once", async () => {
  for (const [version, name] of [
    ["..1", "a"],
    ["..2", "b"],
  ] as const) {
    await mkdir(join(folder, version));
    await writeFile(join(folder, version, "members.json"), member(name));
  }
  await symlink("..1", join(folder, "..data"));
  await symlink("..data/members.json", join(folder, "members.json"));
  const opened = await openOne(`file:${join(folder, "members.json")}`);
  expect(opened.found()).toEqual(["a 7070"]);
  await symlink("..2", join(folder, "..data_tmp"));
  await rename(join(folder, "..data_tmp"), join(folder, "..data"));
  await afterEvent(opened);
  expect(opened.found()).toEqual(["b 7070"]);
});

test("a change that gives no event is found by looking again, also one of the same length", async () => {
  // The folder that is watched is another than the one in which the file lies, as on a file system without events.
  await mkdir(join(folder, "watched"));
  await mkdir(join(folder, "elsewhere"));
  await writeFile(join(folder, "elsewhere", "members.json"), member("a"));
  await symlink("../elsewhere/members.json", join(folder, "watched", "members.json"));
  const { found, nextLook } = await openOne(`file:${join(folder, "watched", "members.json")}`);
  await writeFile(join(folder, "elsewhere", "members.json"), member("b"));
  expect(found()).toEqual(["a 7070"]);
  await nextLook();
  expect(found()).toEqual(["b 7070"]);
});

test.each([
  ["damaged", '["a:7070", '],
  ["of another form", '{"members": []}'],
  ["empty", ""],
])("a file that is %s leaves the last list in use, and is told once", async (_, content) => {
  // Not below a watched folder, so that only the clock brings looks.
  await mkdir(join(folder, "elsewhere"));
  const file = join(folder, "elsewhere", "members.json");
  await writeFile(file, member("a"));
  await symlink("elsewhere/members.json", join(folder, "members.json"));
  const { discovery, log, found, nextLook } = await openOne(`file:${join(folder, "members.json")}`);
  await writeFile(file, content);
  for (let i = 0; i < 3; i++) await nextLook();
  expect(found()).toEqual(["a 7070"]);
  expect(discovery.stats()).toMatchObject([{ looks: 4, failures: 3, failing: true }]);
  expect(log.of("warn")).toHaveLength(1);
  expect(log.of("warn")[0]).toContain(`file:${folder}/members.json: expected ["host:port"`);
  await writeFile(file, member("b"));
  await nextLook();
  expect(found()).toEqual(["b 7070"]);
  expect(discovery.stats()).toMatchObject([{ failures: 3, failing: false }]);
});

test("a folder and a file that come later are found", async () => {
  const file = join(folder, "later", "members.json");
  const { discovery, found, nextLook } = await openOne(`file:${file}`);
  expect(discovery.stats()).toMatchObject([{ failures: 1, lastError: expect.stringContaining("ENOENT") }]);
  await mkdir(join(folder, "later"));
  await writeFile(file, member("a"));
  await nextLook();
  expect(found()).toEqual(["a 7070"]);
});

test("a file longer than any list of peers is not read", async () => {
  const file = join(folder, "members.json");
  await writeFile(file, Buffer.alloc(16 * 2 ** 20 + 1, " "));
  const { discovery } = await openOne(`file:${file}`);
  expect(discovery.stats()).toMatchObject([{ failures: 1, lastError: expect.stringContaining("16777217 bytes are more") }]);
});
