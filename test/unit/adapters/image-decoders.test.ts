/** jpeg-turbo beside sharp: the same pictures, each where it is right and quick, and clear words where one is missing. */
import sharp from "sharp";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type ImageOptions, image } from "../../../src/adapters/decode.js";
import { photo } from "../../support/photo.js";

const PIXELS = { dtype: "uint8", layout: "NHWC" } as const;
/** Of 255. libjpeg-turbo's quick DCT rounds down: on average red and blue come out 1 lower than by the exact one. */
const MEAN_DIFFERENCE = 1.5;
const LARGEST_DIFFERENCE = 16;

let picture: Buffer;
beforeAll(async () => {
  picture = await photo(500, 375);
});

function draws(): { random(): number; drawn: () => number } {
  let drawn = 0;
  return { random: () => ((drawn++ * 0.37) % 1) + 0.01, drawn: () => drawn };
}
const decode = (bytes: Uint8Array, options: Partial<ImageOptions>, context = draws()) =>
  image(bytes, { size: [240, 300], ...PIXELS, ...options } as ImageOptions & typeof PIXELS, context);

async function expectAlike(bytes: Uint8Array, options: Partial<ImageOptions> = {}): Promise<void> {
  const contexts = [draws(), draws()];
  const a = await decode(bytes, { ...options, decoder: "sharp" }, contexts[0]);
  const b = await decode(bytes, { ...options, decoder: "jpeg-turbo" }, contexts[1]);
  expect(b.length).toBe(a.length);
  expect(contexts[1]!.drawn()).toBe(contexts[0]!.drawn());
  const differences = a.map((value, i) => Math.abs(value - b[i]!));
  expect(differences.reduce((sum, value) => sum + value, 0) / a.length).toBeLessThan(MEAN_DIFFERENCE);
  expect(differences.reduce((largest, value) => Math.max(largest, value), 0)).toBeLessThanOrEqual(LARGEST_DIFFERENCE);
}

describe("jpeg-turbo gives what sharp gives", () => {
  it.each<Partial<ImageOptions>>([
    {},
    { size: [375, 500] },
    { resize: "fill" },
    { resize: "contain" },
    { resize: "contain", channels: 4 },
    { resize: 320 },
    { resize: 320, crop: "random" },
    { size: 100, crop: { scale: [0.2, 0.5] } },
    { size: 160, crop: { scale: [0.5, 1] }, flip: true },
    { channels: 1 },
    { channels: 4 },
    { layout: "NCHW" },
    { layout: "NCHW", channels: 4, flip: true },
  ])("with %j", async (options) => expectAlike(picture, options));

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("upright from EXIF orientation %i, before anything is cut", async (orientation) => {
    const stored = await photo(260, 160, { orientation });
    await expectAlike(stored, { size: [150, 90], resize: "fill" });
    await expectAlike(stored, { size: [60, 60], crop: { scale: [0.3, 0.3] } });
  });

  it.each([
    ["grey", { grey: true }],
    ["progressive", { progressive: true }],
    ["without subsampling", { chromaSubsampling: "4:4:4" }],
    ["with optimised tables", { mozjpeg: true }],
  ])("of a JPEG that is %s", async (_, kind) => {
    const bytes = await photo(500, 375, kind);
    await expectAlike(bytes);
    await expectAlike(bytes, { channels: 1 });
    await expectAlike(bytes, { channels: 4 });
  });

  it("float32 too, by mean and std", async () => {
    const options = { size: 300, mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] };
    const a = await image(picture, { ...options, decoder: "sharp" });
    const b = await image(picture, { ...options, decoder: "jpeg-turbo" });
    const mean = a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
    expect(mean).toBeLessThan(MEAN_DIFFERENCE / 255 / 0.3);
    expect(b.some((value) => value < -0.5)).toBe(true);
  });

  it("whatever is decoded in between: results are memory of their own", async () => {
    const smaller = await photo(300, 420, { seed: 2 });
    const larger = await photo(640, 480, { seed: 3 });
    const byTurbo = (bytes: Uint8Array) => decode(bytes, { decoder: "jpeg-turbo" });
    const alone = [await byTurbo(picture), await byTurbo(smaller), await byTurbo(larger)];
    const together = await Promise.all([picture, smaller, larger, picture, smaller, larger].map(byTurbo));
    expect(together).toEqual([...alone, ...alone]);
  });
});

describe('"auto" takes', () => {
  const decoders = ["sharp", "jpeg-turbo"] as const;
  /** Which decoder's result the automatic one is, to the bit. */
  async function taken(bytes: Uint8Array, options: Partial<ImageOptions>): Promise<string[]> {
    const auto = await decode(bytes, options);
    const found: string[] = [];
    for (const decoder of decoders) {
      const result = await decode(bytes, { ...options, decoder }).catch(() => undefined);
      if (result !== undefined && Buffer.compare(auto, result) === 0) found.push(decoder);
    }
    return found;
  }

  it("jpeg-turbo where the part that is kept is made less than half as large", async () => {
    expect(await taken(picture, { size: [200, 260] })).toEqual(["jpeg-turbo"]);
    expect(await taken(picture, { size: 100, crop: { scale: [0.2, 0.2] } })).toEqual(["jpeg-turbo"]);
  });
  it("sharp where it is made smaller than that", async () => {
    expect(await taken(picture, { size: [150, 200] })).toEqual(["sharp"]);
    expect(await taken(picture, { size: 100, crop: { scale: [0.9, 0.9] } })).toEqual(["sharp"]);
  });
  it("sharp for colour profiles", async () => {
    const bytes = await sharp(picture).withIccProfile("p3").jpeg().toBuffer();
    expect(await taken(bytes, {})).toEqual(["sharp"]);
  });
  it("sharp for CMYK, and for all that is no JPEG", async () => {
    const cmyk = await sharp(picture).toColourspace("cmyk").jpeg().toBuffer();
    for (const bytes of [cmyk, await sharp(picture).png().toBuffer(), await sharp(picture).webp().toBuffer()])
      expect(await taken(bytes, {})).toEqual(["sharp"]);
  });
  it("sharp where libjpeg-turbo warns of what does no harm", async () => {
    const odd = Buffer.concat([picture.subarray(0, -2), Buffer.alloc(64, 0x55), picture.subarray(-2)]);
    await expect(decode(odd, { decoder: "jpeg-turbo" })).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
    expect(await taken(odd, {})).toEqual(["sharp"]);
  });
});

describe("damage is MILLRACE_DECODE", () => {
  const kinds: [string, () => Promise<Uint8Array>][] = [
    ["broken off", async () => picture.subarray(0, picture.length >> 1)],
    ["broken off within its head", async () => picture.subarray(0, 100)],
    ["without pixels", async () => picture.subarray(0, picture.indexOf(Buffer.from([0xff, 0xda])))],
    ["of nothing", async () => new Uint8Array()],
    ["of no pixels", async () => withSize(picture, 0, 500)],
    ["of other bytes", async () => Buffer.from("not an image")],
  ];
  for (const decoder of ["auto", "sharp", "jpeg-turbo"] as const)
    it.each(kinds)(`by ${decoder}: an image %s`, async (_, bytes) => {
      await expect(decode(await bytes(), { decoder }).then((values) => values.length)).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
    });

  it("by jpeg-turbo: more pixels than the file can hold, before memory is taken for them", async () => {
    await expect(decode(withSize(picture, 16_000, 16_000), { decoder: "jpeg-turbo" })).rejects.toMatchObject({
      code: "MILLRACE_DECODE",
      message: expect.stringContaining("no JPEG that is whole"),
    });
  });
  it("by jpeg-turbo: what is no plain JPEG", async () => {
    for (const bytes of [await sharp(picture).png().toBuffer(), await sharp(picture).toColourspace("cmyk").jpeg().toBuffer()])
      await expect(decode(bytes, { decoder: "jpeg-turbo" })).rejects.toMatchObject({
        code: "MILLRACE_DECODE",
        message: expect.stringContaining('"auto"'),
      });
  });
});

/** Another size in the frame header. */
function withSize(jpeg: Buffer, height: number, width: number): Buffer {
  const bytes = Buffer.from(jpeg);
  const frame = bytes.indexOf(Buffer.from([0xff, 0xc0]));
  bytes.writeUInt16BE(height, frame + 5);
  bytes.writeUInt16BE(width, frame + 7);
  return bytes;
}

describe("packages that are not installed", () => {
  let lookups = 0;
  const missing = (name: string) =>
    vi.doMock(name, () => {
      lookups++;
      throw new Error(`Cannot find package '${name}'`);
    });
  async function without(...names: string[]): Promise<typeof image> {
    vi.resetModules();
    for (const name of names) missing(name);
    return (await import("../../../src/adapters/decode.js")).image;
  }
  afterEach(() => {
    vi.doUnmock("sharp");
    vi.doUnmock("@julusian/jpeg-turbo");
    vi.resetModules();
  });

  it("jpeg-turbo: sharp decodes all, unless jpeg-turbo was named", async () => {
    const fresh = await without("@julusian/jpeg-turbo");
    const size = [240, 300] as const;
    expect(await fresh(picture, { size, ...PIXELS })).toEqual(await decode(picture, { decoder: "sharp" }));
    await expect(fresh(picture, { size, decoder: "jpeg-turbo" })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("npm install @julusian/jpeg-turbo"),
    });
  });

  it("sharp: jpeg-turbo decodes JPEGs, and other images say what to install", async () => {
    const png = await sharp(picture).png().toBuffer();
    const profiled = await sharp(picture).withIccProfile("p3").jpeg().toBuffer();
    const fresh = await without("sharp");
    lookups = 0;
    for (let i = 0; i < 3; i++) expect((await fresh(picture, { size: 100 })).length).toBe(30_000);
    expect(lookups).toBe(1);
    expect((await fresh(profiled, { size: 100 })).length).toBe(30_000);
    await expect(fresh(png, { size: 100 })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("npm install sharp"),
    });
    for (const damaged of [picture.subarray(0, 100), picture.subarray(0, 9000)])
      await expect(fresh(damaged, { size: 100 })).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
  });

  it("both: the message names both", async () => {
    const fresh = await without("sharp", "@julusian/jpeg-turbo");
    for (const decoder of ["auto", "sharp"] as const)
      await expect(fresh(picture, { size: 100, decoder })).rejects.toMatchObject({
        code: "MILLRACE_CONFIG",
        message: expect.stringMatching(/npm install sharp.*@julusian\/jpeg-turbo/),
      });
  });
});
