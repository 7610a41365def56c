/** Files that are written by several calls. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readFileInto, writeFileAtomically } from "../../../src/cache/file-io.js";
import { WRITE_BYTES } from "../../../src/util/write-all.js";
import { randomBytes } from "../../support/datasets/index.js";

test.each([[[0]], [[64, WRITE_BYTES - 64]], [[64, 2 * WRITE_BYTES]], [[1, 0, WRITE_BYTES, 3 * WRITE_BYTES + 7]]])(
  "what is written in parts of %j is read as it was",
  async (lengths) => {
    const folder = await mkdtemp(join(tmpdir(), "millrace-file-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const parts = lengths.map((length, i) => randomBytes(length, i));
    await writeFileAtomically(join(folder, "temp"), join(folder, "file"), parts);
    const read = lengths.map((length) => new Uint8Array(length));
    const total = lengths.reduce((sum, length) => sum + length, 0);
    expect(await readFileInto(join(folder, "file"), [...read, new Uint8Array(1)])).toBe(total);
    expect(Buffer.concat(read).equals(Buffer.concat(parts))).toBe(true);
    expect(await readdir(folder)).toEqual(["file"]);
  },
);
