import { describe, expect, it } from "vitest";
import { json, utf8 } from "../../../src/adapters/decode.js";

const DECODE = expect.objectContaining({ code: "MILLRACE_DECODE", cause: expect.anything() });

describe("utf8 and json", () => {
  it("read text, a byte order mark left out", () => {
    expect(utf8(Buffer.from("käse 𝄞"))).toBe("käse 𝄞");
    expect(utf8(Buffer.from([0xef, 0xbb, 0xbf, 0x61]))).toBe("a");
    expect(utf8(new Uint8Array())).toBe("");
    expect(json(Buffer.from('{"a":[1,null,"é"]}'))).toEqual({ a: [1, null, "é"] });
    expect(json(Buffer.from("\ufeff 3 "))).toBe(3);
  });

  it("refuse what is not UTF-8, rather than replace it", () => {
    for (const bytes of [[0xff], [0xc3], [0xed, 0xa0, 0x80]]) {
      expect(() => utf8(Uint8Array.from(bytes))).toThrow(DECODE);
      expect(() => json(Uint8Array.from([0x22, ...bytes, 0x22]))).toThrow(DECODE);
    }
  });

  it("refuse what is not JSON", () => {
    for (const text of ["", "{", "[1,]", "NaN", "{'a': 1}"]) expect(() => json(Buffer.from(text))).toThrow(DECODE);
  });
});
