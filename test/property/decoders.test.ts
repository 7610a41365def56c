/** Whatever the bytes, a decoder returns or throws MILLRACE_DECODE, and ends; it takes no memory for what is only announced. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { image, json, npy, utf8, wav } from "../../src/adapters/decode.js";
import { jpegHeader } from "../../src/adapters/jpeg-header.js";
import { isMillraceError } from "../../src/errors.js";
import { photo } from "../support/photo.js";

/** Sets bytes, cuts the end, or repeats a piece. Damage near the begin, where the headers are, is as likely as elsewhere. */
const damage = fc.array(
  fc.record({
    kind: fc.constantFrom("set" as const, "set" as const, "cut" as const, "repeat" as const),
    at: fc.oneof(fc.nat(150), fc.nat()),
    value: fc.nat(255),
  }),
  { minLength: 1, maxLength: 5 },
);
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(bytes: Uint8Array, changes: Damage): Uint8Array {
  let out = Uint8Array.from(bytes);
  for (const { kind, at, value } of changes) {
    const place = at % (out.length + 1);
    if (kind === "cut") out = out.slice(0, place);
    else if (kind === "repeat") out = Uint8Array.from([...out.subarray(0, place + value), ...out.subarray(place)]);
    else if (place < out.length) out[place] = value;
  }
  return out;
}

async function expectResultOrDecodeError(decode: () => unknown): Promise<void> {
  try {
    await decode();
  } catch (error) {
    if (!isMillraceError(error, "MILLRACE_DECODE")) throw error;
  }
}

const ascii = (text: string) => [...Buffer.from(text, "latin1")];
const header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
const files: Record<string, { valid: Uint8Array; decode: (bytes: Uint8Array) => unknown }> = {
  npy: {
    valid: Uint8Array.from([...ascii("\x93NUMPY\x01\0"), header.length, 0, ...ascii(header), ...new Array(24).fill(63)]),
    decode: npy,
  },
  wav: {
    valid: Uint8Array.from([
      ...ascii("RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\x10\0\0\0"),
      ...new Array(16).fill(9),
    ]),
    decode: (bytes) => wav(bytes, { frames: 100 }),
  },
  json: { valid: Buffer.from('{"boxes":[[1,2.5e3,-3,4]],"name":"\\u00e9"}'), decode: json },
  utf8: { valid: Buffer.from("käse 𝄞 über"), decode: utf8 },
};

describe("any bytes", () => {
  for (const [name, { valid, decode }] of Object.entries(files))
    it(`${name}: a result or MILLRACE_DECODE`, async () => {
      expect(() => decode(valid)).not.toThrow();
      await fc.assert(
        fc.asyncProperty(fc.oneof(damage, fc.uint8Array({ maxLength: 300 })), (input) =>
          expectResultOrDecodeError(() => decode(input instanceof Uint8Array ? input : damaged(valid, input))),
        ),
        { numRuns: 1000 },
      );
    });
});

describe("damaged images", () => {
  let pictures: Uint8Array[];
  beforeAll(async () => {
    pictures = [await photo(40, 30), await photo(33, 50, { progressive: true, orientation: 6 }), await photo(24, 24, { grey: true })];
  });

  for (const decoder of ["auto", "jpeg-turbo", "sharp"] as const)
    it(`by ${decoder}: an image of the right length or MILLRACE_DECODE`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.nat(2), damage, (which, changes) =>
          expectResultOrDecodeError(async () => {
            const values = await image(damaged(pictures[which]!, changes), { size: [24, 32], decoder });
            expect(values.length).toBe(3 * 24 * 32);
          }),
        ),
        { numRuns: 250 },
      );
    });

  it("their heads are never believed to hold more than they can", () => {
    fc.assert(
      fc.property(fc.nat(2), damage, (which, changes) => {
        const bytes = damaged(pictures[which]!, changes);
        const head = jpegHeader(bytes);
        if (head !== undefined) expect(head.width * head.height).toBeLessThanOrEqual(bytes.length * 1024);
      }),
      { numRuns: 1000 },
    );
  });
});
