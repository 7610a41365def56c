import { describe, expect, test } from "vitest";
import { DTYPES } from "../../../src/checkpoint/dtypes.js";
import { formatHeader, headerLength, parseHeader } from "../../../src/checkpoint/safetensors.js";
import { entry, safetensorsFile } from "../../support/safetensors.js";

const parse = (file: Uint8Array) => parseHeader(file, file.length, "m.safetensors");
const bytes = (count: number) => new Uint8Array(count);
/** A header with one tensor `t`, its parts as JSON text. */
const oneTensor = (dtype: string, shape: string, offsets: string) => `{"t":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}}`;
const U8 = (begin: number, end: number) => entry("U8", [end - begin], begin, end);

describe("what is read", () => {
  test("tensors in the order of the file, with their places in it, and the metadata", () => {
    const file = safetensorsFile({ b: entry("F32", [2], 4, 12), __metadata__: { format: "pt" }, a: entry("U8", [2, 2], 0, 4) }, bytes(12));
    const dataBegin = file.length - 12;
    expect(parse(file)).toEqual({
      metadata: { format: "pt" },
      dataBegin,
      tensors: [
        { name: "a", dtype: "U8", shape: [2, 2], begin: dataBegin, end: dataBegin + 4 },
        { name: "b", dtype: "F32", shape: [2], begin: dataBegin + 4, end: dataBegin + 12 },
      ],
    });
  });

  test("a file without tensors, with nothing after its header", () => {
    expect(parse(safetensorsFile("{}"))).toEqual({ metadata: {}, tensors: [], dataBegin: 10 });
  });

  test("JSON whitespace around the header, scalars, dimensions of 0, and empty tensors between others", () => {
    const header = { s: entry("F64", [], 0, 8), none: entry("F32", [3, 0], 8, 8), more: U8(8, 9) };
    const { tensors } = parse(safetensorsFile(` \t\r\n${JSON.stringify(header)}\n  `, bytes(9)));
    expect(tensors.map(({ name }) => name)).toEqual(["s", "none", "more"]);
  });

  test("names are only names: escapes, digits and those of JavaScript's own objects", () => {
    const names = ["__proto__", "constructor", "10", "2", "ä\n\u{1f600}"];
    const text = names.map((name, i) => `${JSON.stringify(name)}:${JSON.stringify(U8(i, i + 1))}`).join(",");
    const metadata = '"__metadata__":{"__proto__":"x","\\u00e9":"\\ud83d\\ude00"}';
    const header = parse(safetensorsFile(`{${metadata},${text}}`, bytes(names.length)));
    expect(header.tensors.map(({ name }) => name)).toEqual(names);
    expect(Object.entries(header.metadata)).toEqual([
      ["__proto__", "x"],
      ["é", "\u{1f600}"],
    ]);
  });

  test.each([
    ["BOOL", 8],
    ["F4", 4],
    ["F6_E2M3", 6],
    ["F6_E3M2", 6],
    ["U8", 8],
    ["I8", 8],
    ["F8_E5M2", 8],
    ["F8_E4M3", 8],
    ["F8_E8M0", 8],
    ["F8_E4M3FNUZ", 8],
    ["F8_E5M2FNUZ", 8],
    ["I16", 16],
    ["U16", 16],
    ["F16", 16],
    ["BF16", 16],
    ["I32", 32],
    ["U32", 32],
    ["F32", 32],
    ["C64", 64],
    ["F64", 64],
    ["I64", 64],
    ["U64", 64],
  ])("%s takes %i bits an element", (dtype, bits) => {
    const size = bits / 2;
    expect(parse(safetensorsFile({ t: entry(dtype, [2, 2], 0, size) }, bytes(size))).tensors[0]?.dtype).toBe(dtype);
    expect(() => parse(safetensorsFile({ t: entry(dtype, [2, 4], 0, size) }, bytes(size)))).toThrow(`takes ${bits}`);
  });
});

describe("what is refused, each with its own message", () => {
  test.each<[rule: string, file: Uint8Array, message: string]>([
    ["shorter than the length", bytes(7), "a file of 7 bytes is too short for a header"],
    ["empty header", safetensorsFile("", bytes(8)), "its header is empty"],
    ["header over the limit", safetensorsFile("{}", bytes(8), 100_000_001n), "longer than the 100000000 allowed"],
    ["header of 2^63 bytes", safetensorsFile("{}", bytes(8), 2n ** 63n), "longer than the 100000000 allowed"],
    ["header beyond the file", safetensorsFile("{}", bytes(0), 3n), "its header of 3 bytes is cut short: the file has 10 bytes"],
    ["not UTF-8", safetensorsFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), "its header is not UTF-8"],
    ["BOM", safetensorsFile("\ufeff{}"), "its header is not valid JSON: unexpected text"],
    ["NUL after it", safetensorsFile("{}\0"), "unexpected text after the end"],
    ["NUL before it", safetensorsFile("\0{}"), "unexpected text"],
    ["other white space", safetensorsFile("\u00a0{}"), "unexpected text"],
    ["garbage after it", safetensorsFile("{}x"), "unexpected text after the end"],
    ["a second object", safetensorsFile("{}{}"), "unexpected text after the end"],
    ["cut JSON", safetensorsFile('{"t":'), "it ends too early"],
    ["no object", safetensorsFile("[]"), "its header is no JSON object"],
    ["a trailing comma", safetensorsFile("{},"), "unexpected text after the end"],
    ["a comma before the end", safetensorsFile('{"__metadata__":{"a":"b",}}'), 'expected "'],
    ["deep nesting", safetensorsFile("[".repeat(100_000)), "nested more than 128 deep"],
    ["a control character", safetensorsFile('{"a\nb":1}'), "a string holds a control character"],
    ["an unknown escape", safetensorsFile('{"\\x41":1}'), "an escape that JSON does not have"],
    ["half a surrogate pair", safetensorsFile('{"\\ud800":1}'), "half a surrogate pair"],
    ["a string without end", safetensorsFile('{"a'), "a string does not end"],
    ["metadata that is no object", safetensorsFile({ __metadata__: "x" }), "__metadata__ is no JSON object"],
    ["metadata null", safetensorsFile({ __metadata__: null }), "__metadata__ is no JSON object"],
    ["metadata with a number", safetensorsFile({ __metadata__: { step: 1 } }), '__metadata__: the value of "step" is no string'],
    ["metadata with an object", safetensorsFile({ __metadata__: { a: {} } }), '__metadata__: the value of "a" is no string'],
  ])("%s", (_rule, file, message) => {
    expectRefusal(file, message);
  });

  test.each<[rule: string, file: Uint8Array, message: string]>([
    ["its name comes twice", safetensorsFile(`{"t":${JSON.stringify(U8(0, 1))},"t":${JSON.stringify(U8(1, 2))}}`, bytes(2)), "comes twice"],
    [
      "its name comes twice, once escaped",
      safetensorsFile(`{"t":${JSON.stringify(U8(0, 1))},"\\u0074":${JSON.stringify(U8(1, 2))}}`, bytes(2)),
      "comes twice",
    ],
    ["no entry", safetensorsFile({ t: [1] }), "its entry is no JSON object"],
    ["no dtype", safetensorsFile({ t: { shape: [], data_offsets: [0, 1] } }, bytes(1)), "its dtype (missing) is not known"],
    ["unknown dtype", safetensorsFile(oneTensor('"F7"', "[1]", "[0,1]"), bytes(1)), 'its dtype "F7" is not known'],
    ["lower-case dtype", safetensorsFile(oneTensor('"f32"', "[1]", "[0,4]"), bytes(4)), 'its dtype "f32" is not known'],
    ["dtype of an object's own", safetensorsFile(oneTensor('"constructor"', "[1]", "[0,1]"), bytes(1)), "is not known"],
    ["dtype number", safetensorsFile(oneTensor("8", "[1]", "[0,1]"), bytes(1)), "its dtype 8 is not known"],
    ["no shape", safetensorsFile({ t: { dtype: "U8", data_offsets: [0, 1] } }, bytes(1)), "its shape (missing) is no list of integers"],
    ["shape with a fraction", safetensorsFile(oneTensor('"U8"', "[16.0]", "[0,16]"), bytes(16)), 'its shape ["number 16.0"] is no list'],
    ["shape with an exponent", safetensorsFile(oneTensor('"U8"', "[1.6e1]", "[0,16]"), bytes(16)), "is no list of integers"],
    ["shape with a whole exponent", safetensorsFile(oneTensor('"U8"', "[16e0]", "[0,16]"), bytes(16)), "is no list of integers"],
    ["shape of strings", safetensorsFile(oneTensor('"U8"', '["2"]', "[0,2]"), bytes(2)), 'its shape ["2"] is no list of integers'],
    ["shape below 0", safetensorsFile(oneTensor('"U8"', "[-2]", "[0,2]"), bytes(2)), "is no list of integers"],
    ["shape of -0", safetensorsFile(oneTensor('"U8"', "[-0]", "[0,0]")), "is no list of integers"],
    ["shape past 2^53 - 1", safetensorsFile(oneTensor('"U8"', "[9007199254740992,0]", "[0,0]")), "is no list of integers"],
    ["shape no list", safetensorsFile(oneTensor('"U8"', "2", "[0,2]"), bytes(2)), "its shape 2 is no list"],
    ["no offsets", safetensorsFile({ t: { dtype: "U8", shape: [1] } }, bytes(1)), "its data_offsets (missing) are no pair"],
    ["one offset", safetensorsFile(oneTensor('"U8"', "[1]", "[1]"), bytes(1)), "its data_offsets [1] are no pair"],
    ["three offsets", safetensorsFile(oneTensor('"U8"', "[1]", "[0,1,1]"), bytes(1)), "its data_offsets [0,1,1] are no pair"],
    ["offset with a fraction", safetensorsFile(oneTensor('"U8"', "[1]", "[0,1.0]"), bytes(1)), "are no pair of integers"],
    ["offset below 0", safetensorsFile(oneTensor('"U8"', "[1]", "[-1,0]"), bytes(1)), "are no pair of integers"],
    ["offsets the wrong way", safetensorsFile(oneTensor('"U8"', "[0]", "[1,0]"), bytes(1)), "end (0) before they begin (1)"],
    ["too few bytes", safetensorsFile({ t: entry("F32", [2], 0, 7) }, bytes(7)), "span 7 bytes, but F32 [2] takes 8"],
    ["bits that fill no byte", safetensorsFile({ t: entry("F4", [3], 0, 2) }, bytes(2)), "its 12 bits do not fill whole bytes"],
    ["a scalar of half a byte", safetensorsFile({ t: entry("F4", [], 0, 1) }, bytes(1)), "its 4 bits do not fill whole bytes"],
    [
      "an overflow before a 0",
      safetensorsFile(oneTensor('"U8"', "[9007199254740991,9007199254740991,0]", "[0,0]")),
      "multiply to more than 64 bits hold",
    ],
    ["an overflow by the bits", safetensorsFile(oneTensor('"U8"', "[4503599627370496,4096]", "[0,0]")), "more than 64 bits"],
    ["a hole before the first", safetensorsFile({ t: U8(1, 2) }, bytes(2)), "leaves a hole of 1 bytes before it (at 1)"],
    ["a hole between", safetensorsFile({ a: U8(0, 2), t: U8(3, 4) }, bytes(4)), "leaves a hole of 1 bytes before it (at 3)"],
    ["an overlap", safetensorsFile({ a: U8(0, 2), t: U8(1, 3) }, bytes(3)), "overlaps the tensor before it (at 1)"],
    ["the same bytes twice", safetensorsFile({ a: U8(0, 2), t: U8(0, 2) }, bytes(2)), "overlaps the tensor before it (at 0)"],
    ["bytes after the last", safetensorsFile({ t: U8(0, 2) }, bytes(3)), "1 bytes of the file come after the last tensor's"],
    ["a file cut short", safetensorsFile({ t: U8(0, 2) }, bytes(1)), "it was cut short"],
  ])("tensor: %s", (_rule, file, message) => {
    const error = expectRefusal(file, message);
    expect(error.message).toMatch(/"t"/);
  });

  test("bytes after a header without tensors", () => {
    expectRefusal(safetensorsFile("{}", bytes(1)), "no tensor: 1 bytes of the file come after");
  });

  test("a name of a megabyte is shortened in the message", () => {
    expect(expectRefusal(safetensorsFile({ ["x".repeat(2 ** 20)]: 1 }), "its entry is no JSON object").message.length).toBeLessThan(400);
  });

  function expectRefusal(file: Uint8Array, message: string): Error {
    let thrown: unknown;
    try {
      parse(file);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: "MILLRACE_FORMAT", uri: "m.safetensors", message: expect.stringContaining(message) });
    expect((thrown as Error).message).toMatch(/^m\.safetensors: /);
    return thrown as Error;
  }
});

describe("headerLength", () => {
  test("needs only the first 8 bytes", () => {
    expect(headerLength(Uint8Array.of(0, 0xe1, 0xf5, 5, 0, 0, 0, 0), 100_000_008, "f")).toBe(100_000_000);
  });
});

describe("formatHeader", () => {
  test("the widest dtype first, then by UTF-8 name; JSON without spaces, padded to 8", () => {
    const tensors = [
      { name: "b", dtype: "U8", shape: [3] },
      { name: "\u{1f600}", dtype: "F32", shape: [] },
      { name: "\uffff", dtype: "F32", shape: [1] },
      { name: "a", dtype: "I64", shape: [0, 5] },
    ];
    const { bytes: header, order, dataBytes } = formatHeader(tensors, { z: "1", 10: "2" });
    expect(order).toEqual([3, 2, 1, 0]);
    expect(dataBytes).toBe(11);
    expect(header.length % 8).toBe(0);
    const text = new TextDecoder().decode(header.subarray(8));
    expect(text.trimEnd()).toBe(
      '{"__metadata__":{"10":"2","z":"1"},"a":{"dtype":"I64","shape":[0,5],"data_offsets":[0,0]},' +
        '"\uffff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u{1f600}":{"dtype":"F32","shape":[],"data_offsets":[4,8]},' +
        '"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}',
    );
    expect(text.slice(text.trimEnd().length)).toMatch(/^ {0,7}$/);
  });

  test("dtypes rank as the reference has them", () => {
    const names = [...DTYPES.keys()];
    const { order } = formatHeader(names.map((dtype) => ({ name: dtype, dtype, shape: [4] })));
    expect(order.map((i) => names[i])).toEqual(
      (
        "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 F8_E5M2 " + "I8 U8 F6_E3M2 F6_E2M3 F4 BOOL"
      ).split(" "),
    );
  });

  test.each<[string, Parameters<typeof formatHeader>, string]>([
    ["twice a name", [[tensor("a"), tensor("a")]], '"a": this name comes twice'],
    ["the reserved name", [[tensor("__metadata__")]], "this name is reserved"],
    ["half a surrogate pair", [[tensor("\ud800")]], "half a surrogate pair"],
    ["an unknown dtype", [[tensor("a", "float32")]], 'dtype "float32" is not one of'],
    ["a negative dimension", [[tensor("a", "U8", [-1])]], "dimensions are integers"],
    ["a fraction", [[tensor("a", "U8", [0.5])]], "dimensions are integers"],
    ["bits that fill no byte", [[tensor("a", "F4", [3])]], "do not fill whole bytes"],
    ["too many bytes", [[tensor("a", "U8", [2 ** 53 - 1]), tensor("b", "U8", [1])]], "the tensors are more than"],
    ["metadata that is no text", [[], { step: 1 as unknown as string }], 'metadata "step"'],
  ])("refuses %s", (_what, [tensors, metadata], message) => {
    expect(() => formatHeader(tensors, metadata)).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining(message) }),
    );
  });
});

function tensor(name: string, dtype = "U8", shape: readonly number[] = [1]) {
  return { name, dtype, shape };
}

test.each([
  ["PK\x03\x04\0\0\x08\x08".padEnd(200, "\0"), /a zip archive/],
  ["<!DOCTYPE html><html>not found</html>", /an HTML page/],
  ["<html>not found</html>", /an HTML page/],
  ["version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", /Git LFS.*git lfs pull/],
])("what else the file is, where that can be told: %o", (text, message) => {
  const file = Buffer.from(text, "latin1");
  const refused = { code: "MILLRACE_FORMAT", message: expect.stringMatching(/^m\.safetensors: no safetensors file: looks like /) };
  expect(() => parse(file)).toThrow(expect.objectContaining(refused));
  expect(() => parse(file)).toThrow(message);
});
