import { expect, test } from "vitest";
import { formatAnnouncement, parseAnnouncement, parseMembersFile } from "../../../../src/peers/discovery/member-record.js";

const self = { id: "a", url: "http://10.0.0.1:7070", weight: 2, labels: { node: "n1" }, version: 1 };
const { url, ...identity } = self;

test("an announcement reads as it was written", () => {
  expect(parseAnnouncement(formatAnnouncement(self))).toEqual({ host: "10.0.0.1", port: 7070, ...identity });
});

test("a later version may tell more", () => {
  expect(parseAnnouncement(JSON.stringify({ ...self, version: 2, disk: 1 }))).toEqual({
    host: "10.0.0.1",
    port: 7070,
    ...identity,
    version: 2,
  });
});

test.each([
  ["{", "not JSON"],
  ["[]", "expected object"],
  [JSON.stringify({ ...self, id: "" }), "at id"],
  [JSON.stringify({ ...self, id: "x".repeat(257) }), "at id"],
  [JSON.stringify({ ...self, url: "file:///etc/passwd" }), "expected http://host:port"],
  [JSON.stringify({ ...self, weight: -1 }), "at weight"],
  [JSON.stringify({ ...self, weight: null }), "at weight"],
  [JSON.stringify({ ...self, labels: { node: 1 } }), "at labels.node"],
  [JSON.stringify({ ...self, labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, ""])) }), "at most 64 labels"],
  [JSON.stringify({ ...self, version: 0 }), "at version"],
])("the announcement %s is refused in one line", (json, message) => {
  const refusal = parseAnnouncement(json);
  expect(refusal).toContain(message);
  expect(refusal).not.toContain("\n");
});

test("a file holds addresses, and members with as much as is known of them", () => {
  const file = ["node1:7070", { url: "http://node2:7070" }, { ...self, labels: {} }];
  expect(parseMembersFile(JSON.stringify(file))).toEqual([
    { host: "node1", port: 7070 },
    { host: "node2", port: 7070 },
    { host: "10.0.0.1", port: 7070, ...identity, labels: {} },
  ]);
  expect(parseMembersFile("[]")).toEqual([]);
});

test.each([
  ['["node1:7070"', "not JSON"],
  ['{"members": []}', "expected array"],
  ['["node1:7070", "node2"]', "expected object, received string → at [1]"],
  ['[{"url": "http://node1:7070", "wieght": 2}]', "wieght"],
  ['[{"id": "a"}]', "url"],
])("the file %s is refused", (json, message) => {
  expect(parseMembersFile(json)).toContain(message);
});
