import { expect, it } from "vitest";
import { classesOf, files } from "../../../src/formats/files.js";
import { rawRecord } from "../../support/raw-record.js";
import { failure, memoryReader } from "./memory-reader.js";

const bytes = new TextEncoder().encode("abc");

it("sorts the folders' names by their UTF-8 bytes", () => {
  expect(classesOf(["train/dog/1.jpg", "train/cat/2.jpg", "val/dog/3.jpg", "x.jpg", "\u{1f600}/a", "\uff5e/a"])).toEqual([
    "",
    "cat",
    "dog",
    "\uff5e",
    "\u{1f600}",
  ]);
});

it("makes each object one record without a read", async () => {
  const reader = memoryReader(bytes, { path: "cat/1.jpg" });
  expect(await files.index(reader)).toEqual({ begins: Float64Array.of(0), ends: Float64Array.of(3), keys: ["cat/1.jpg"] });
  expect(reader.reads).toEqual([]);
});

it("refuses an object over the limit", async () => {
  const error = await failure(() => files.index(memoryReader(bytes, { path: "cat/1.jpg", maxRecordBytes: 2 })));
  expect(error.code).toBe("MILLRACE_CORRUPT");
  expect(error.message).toContain("cat/1.jpg");
});

it("gives bytes and label, as wanted", () => {
  const context = { shardPath: "train/dog/1.jpg", classes: ["cat", "dog"] };
  expect(files.fields(rawRecord(bytes, context), undefined)).toEqual({ bytes, label: 1 });
  expect(files.fields(rawRecord(bytes, context), new Set(["label"]))).toEqual({ label: 1 });
  expect(files.fields(rawRecord(bytes, { shardPath: "x", classes: undefined }), new Set(["bytes", "other"]))).toEqual({ bytes });
  expect(files.defaultFields(rawRecord(bytes, context))).toEqual({ bytes: "bytes", label: "int32" });
});

it("names a folder that is no class", async () => {
  for (const classes of [["cat"], undefined]) {
    const error = await failure(() => files.fields(rawRecord(bytes, { shardPath: "train/dog/1.jpg", classes }), undefined));
    expect(error.code).toBe("MILLRACE_FORMAT");
    expect(error.message).toContain('train/dog/1.jpg: its folder "dog"');
  }
});
