import { describe, expect, test } from "vitest";
import { parseShardIndex } from "../../../src/checkpoint/checkpoint-index.js";

const parse = (text: string) => parseShardIndex(Buffer.from(text), "m.index.json");

describe("parseShardIndex", () => {
  test("files by tensor; what else the index says is passed over", () => {
    const index = parse('{"metadata":{"total_size":12.5},"weight_map":{"a":"m-1.safetensors","__proto__":"m-2.safetensors"}}');
    expect([...index]).toEqual([
      ["a", "m-1.safetensors"],
      ["__proto__", "m-2.safetensors"],
    ]);
  });

  test.each([
    ["no JSON", "{", "the index is not valid JSON"],
    ["no object", "[]", "the index is no JSON object"],
    ["no weight_map", "{}", "the index has no weight_map"],
    ["weight_map no object", '{"weight_map":[]}', "the index has no weight_map"],
    ["a tensor twice", '{"weight_map":{"t":"a","t":"b"}}', 'the name "t" comes twice'],
    ["a file that is no string", '{"weight_map":{"t":1}}', 'tensor "t": its file in weight_map is no string'],
    ["no name", '{"weight_map":{"t":""}}', "does not lie beside the index"],
    ["a folder above", '{"weight_map":{"t":"../a"}}', 'tensor "t": its file "../a" does not lie beside the index'],
    ["a folder below", '{"weight_map":{"t":"a/b"}}', "does not lie beside the index"],
    ["an absolute path", '{"weight_map":{"t":"/etc/passwd"}}', "does not lie beside the index"],
    ["a URI", '{"weight_map":{"t":"s3://b/a"}}', "does not lie beside the index"],
    ["a Windows path", '{"weight_map":{"t":"..\\\\a"}}', "does not lie beside the index"],
    ["the folder itself", '{"weight_map":{"t":".."}}', "does not lie beside the index"],
    ["a NUL", '{"weight_map":{"t":"a\\u0000"}}', "does not lie beside the index"],
  ])("refuses %s", (_what, text, message) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: "MILLRACE_FORMAT", message: expect.stringContaining(message) }));
  });
});
