import { crc32c } from "@node-rs/crc32";
import { expect, it } from "vitest";
import { crc32cOf8 } from "../../../src/formats/length-crc.js";
import { randomBytes } from "../../support/datasets/index.js";

it("agrees with the native crc32c at every offset", () => {
  const bytes = randomBytes(500, 1);
  for (let at = 0; at + 8 <= bytes.length; at++) expect(crc32cOf8(bytes, at)).toBe(crc32c(bytes.subarray(at, at + 8)));
});
