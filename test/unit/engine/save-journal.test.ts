import { describe, expect, it } from "vitest";
import { formatJournal, type Journal, parseJournal } from "../../../src/engine/save-journal.js";

const file = { path: "/ckpt/m.safetensors", size: 9, crcs: [1, 2] };
const journal: Journal = { version: 1, savedMs: 5, turn: 0, target: "s3://b/m.safetensors", keep: undefined, pieceBytes: 8, files: [file] };
const changed = (change: object) => JSON.stringify({ ...journal, ...change });

describe("parseJournal", () => {
  it.each([{}, { keep: 2 }, { replaced: ["a", "b"] }, { earlier: ["e"] }])("reads what was written: %j", (more) =>
    expect(parseJournal(formatJournal({ ...journal, ...more }))).toEqual({ ...journal, ...more }),
  );

  it("one that says that it is over", () => expect(parseJournal(changed({ version: 0 }))).toBe("over"));

  it.each(["savedMs", "turn", "target", "pieceBytes", "files"])("is none without %s", (name) =>
    expect(parseJournal(changed({ [name]: undefined }))).toBeUndefined(),
  );

  it.each<object>([
    { version: 2 },
    { target: 5 },
    { savedMs: "5" },
    { pieceBytes: 0 },
    { keep: "all" },
    { files: [] },
    { files: [null] },
    { files: [{ ...file, path: undefined }] },
    { files: [{ ...file, size: "9" }] },
    { files: [{ ...file, crcs: undefined }] },
    { files: [{ ...file, crcs: [1, null] }] },
    { replaced: "a" },
    { replaced: [5] },
    { earlier: "e" },
  ])("nor with %j", (change) => expect(parseJournal(changed(change))).toBeUndefined());

  it.each(["", "null", "5", "{", "[]"])("nor is %j", (text) => expect(parseJournal(text)).toBeUndefined());
});
