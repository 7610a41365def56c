import sharp from "sharp";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type ImageOptions, image } from "../../../src/adapters/decode.js";
import { startWorker } from "../../../src/engine/module-loading.js";

const [RED, GREEN, BLUE] = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
] as const;

/** A PNG whose pixel at (x, y) is `colour(x, y)`. */
async function picture(
  width: number,
  height: number,
  colour: (x: number, y: number) => readonly number[],
  channels: 3 | 4 = 3,
): Promise<Buffer> {
  const raw = Buffer.alloc(width * height * channels);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) raw.set(colour(x, y), (y * width + x) * channels);
  return sharp(raw, { raw: { width, height, channels } }).png().toBuffer();
}
/** Numbers handed out one after the other; asking for more than there are is an error. */
function draws(...values: number[]): { random(): number; left: () => number } {
  return {
    random() {
      const value = values.shift();
      if (value === undefined) throw new Error("drew more than expected");
      return value;
    },
    left: () => values.length,
  };
}

/** 4 × 2: left half red, right half blue. */
let halves: Buffer;
beforeAll(async () => {
  halves = await picture(4, 2, (x) => (x < 2 ? RED : BLUE));
});

describe("layout and dtype", () => {
  it("gives uint8 pixels side by side, or a plane a channel", async () => {
    const nhwc = await image(halves, { size: [2, 4], dtype: "uint8", layout: "NHWC" });
    expect(nhwc).toBeInstanceOf(Uint8Array);
    expect([...nhwc]).toEqual([...RED, ...RED, ...BLUE, ...BLUE, ...RED, ...RED, ...BLUE, ...BLUE]);
    const nchw = await image(halves, { size: [2, 4], dtype: "uint8", layout: "NCHW" });
    expect([...nchw]).toEqual([255, 255, 0, 0, 255, 255, 0, 0, ...new Array(8).fill(0), 0, 0, 255, 255, 0, 0, 255, 255]);
    expect(nchw.buffer.byteLength).toBe(24);
  });

  it("takes options whose dtype is known only when it runs", async () => {
    const options: ImageOptions = { size: 2, dtype: "uint8" };
    expect(await image(halves, options)).toBeInstanceOf(Uint8Array);
  });

  it("gives float32 0 to 1 by default, then mean and std a channel", async () => {
    const pair = await picture(2, 1, (x) => (x < 1 ? RED : BLUE));
    const plain = await image(pair, { size: [1, 2] });
    expect([...plain]).toEqual([1, 0, 0, 0, 0, 1]);
    const rounded = async (options: object) => [...(await image(pair, { size: [1, 2], ...options }))].map((v) => Number(v.toFixed(5)));
    expect(await rounded({ mean: [0.5, 0, 0.25], std: [0.5, 2, 0.25], layout: "NHWC" })).toEqual([1, 0, -1, -1, 0, 3]);
    expect(await rounded({ mean: 0.5, std: 0.5 })).toEqual([1, -1, -1, -1, -1, 1]);
    expect(await rounded({ std: 2, channels: 1 })).toHaveLength(2);
  });

  it("makes grey, colour and transparent images the channels that were asked for", async () => {
    const grey = await sharp(halves).grayscale().png().toBuffer();
    const clear = await picture(2, 1, () => [255, 0, 0, 128], 4);
    expect((await image(grey, { size: 2, channels: 3 })).length).toBe(12);
    expect([...(await image(clear, { size: [1, 2], dtype: "uint8", channels: 4, layout: "NHWC" }))]).toEqual([
      255, 0, 0, 128, 255, 0, 0, 128,
    ]);
    expect([...(await image(clear, { size: [1, 2], dtype: "uint8", layout: "NHWC" }))]).toEqual([255, 0, 0, 255, 0, 0]);
    expect([...(await image(halves, { size: [1, 1], channels: 4, dtype: "uint8", resize: "fill" }))].at(3)).toBe(255);
    const white = await picture(3, 3, () => [255, 255, 255]);
    expect([...(await image(white, { size: 2, channels: 1 }))]).toEqual([1, 1, 1, 1]);
  });

  it("reads 16-bit and CMYK images as 8-bit RGB", async () => {
    const deep = await sharp(await picture(2, 2, () => [128, 0, 255]))
      .toColourspace("rgb16")
      .png()
      .toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe("ushort");
    expect([...(await image(deep, { size: 1, dtype: "uint8" }))]).toEqual([128, 0, 255]);
    const cmyk = await sharp(await picture(8, 8, () => [255, 255, 255]))
      .toColourspace("cmyk")
      .jpeg()
      .toBuffer();
    expect((await sharp(cmyk).metadata()).channels).toBe(4);
    const pixel = await image(cmyk, { size: 1, dtype: "uint8" });
    expect(pixel.length).toBe(3);
    expect(Math.min(...pixel)).toBeGreaterThan(240);
  });
});

describe("resize and crop", () => {
  /** 6 × 2: a column of red, four of green, one of blue. */
  const striped = () => picture(6, 2, (x) => (x === 0 ? RED : x === 5 ? BLUE : GREEN));
  const uint8 = { dtype: "uint8", layout: "NHWC" } as const;

  it("cover takes the middle, and cuts nothing at random unless told to", async () => {
    expect([...(await image(await striped(), { size: [2, 4], ...uint8 }))]).toEqual(new Array(8).fill(GREEN).flat());
  });

  it("crop random takes any place by the context's draws", async () => {
    const at = async (draw: number) =>
      [...(await image(await striped(), { size: [2, 4], crop: "random", ...uint8 }, draws(draw, 0)))].slice(0, 12);
    expect(await at(0)).toEqual([...RED, ...GREEN, ...GREEN, ...GREEN]);
    expect(await at(0.5)).toEqual([...GREEN, ...GREEN, ...GREEN, ...GREEN]);
    expect(await at(0.999)).toEqual([...GREEN, ...GREEN, ...GREEN, ...BLUE]);
  });

  it("a number scales the shorter side to it before cropping", async () => {
    const big = await picture(40, 20, (x) => (x < 20 ? RED : BLUE));
    const out = await image(big, { size: 4, resize: 10, ...uint8 });
    expect([...out.slice(0, 3)]).toEqual([...RED]);
    expect([...out.slice(9, 12)]).toEqual([...BLUE]);
    const left = await image(big, { size: 4, resize: 10, crop: "random", ...uint8 }, draws(0, 0));
    expect([...left]).toEqual(new Array(16).fill(RED).flat());
  });

  it("contain keeps all and adds black bars, fill stretches", async () => {
    const red = await picture(4, 2, () => RED);
    const contained = await image(red, { size: 4, resize: "contain", ...uint8 });
    expect([...contained.slice(0, 12)]).toEqual(new Array(12).fill(0));
    expect([...contained.slice(12, 24)]).toEqual(new Array(4).fill(RED).flat());
    expect([...(await image(red, { size: [3, 1], resize: "fill", ...uint8 }))]).toEqual(new Array(3).fill(RED).flat());
  });

  it("a random part is what torchvision would cut", async () => {
    const big = await picture(40, 20, (x, y) => [x * 6, y * 12, 0]);
    // Area 1/4 of 800 at ratio 1 is 14 × 14; left 0.5 of the 27 places, top at the last of 7.
    const context = draws(0.5, 0.5, 0.5, 0.99);
    const out = await image(big, { size: 14, crop: { scale: [0, 0.5].map((v) => v || 1e-9) as [number, number] }, ...uint8 }, context);
    expect([...out.slice(0, 3)]).toEqual([13 * 6, 6 * 12, 0]);
    expect([...out.slice(-3)]).toEqual([26 * 6, 19 * 12, 0]);
    expect(context.left()).toBe(0);
  });

  it("falls back to the middle where no random part of that shape fits", async () => {
    const wide = await picture(40, 4, (x) => (x >= 17 && x < 23 ? GREEN : RED));
    const context = draws(...new Array(20).fill(0.999));
    const out = await image(wide, { size: [2, 3], crop: { scale: [0.99, 1], ratio: [0.5, 1.25] }, ...uint8 }, context);
    expect([...out]).toEqual(new Array(6).fill(GREEN).flat());
    expect(context.left()).toBe(0);
  });

  it("flip mirrors where the draw is below a half", async () => {
    const first = async (draw: number) => [...(await image(halves, { size: [2, 4], flip: true, ...uint8 }, draws(draw)))].slice(0, 3);
    expect(await first(0.49)).toEqual([...BLUE]);
    expect(await first(0.5)).toEqual([...RED]);
  });

  it("turns the image upright by its EXIF orientation, before anything is cut", async () => {
    // Orientation 6: turn right by a quarter. Red was left, so it is on top of a 20 × 40 image.
    const lying = await sharp(await picture(40, 20, (x) => (x < 20 ? RED : BLUE)))
      .withMetadata({ orientation: 6 })
      .png()
      .toBuffer();
    const upright = await image(lying, { size: [4, 2], ...uint8 });
    expect([...upright.slice(0, 3), ...upright.slice(-3)]).toEqual([...RED, ...BLUE]);
    const top = await image(lying, { size: [10, 20], crop: "random", ...uint8 }, draws(0, 0));
    expect([...top]).toEqual(new Array(200).fill(RED).flat());
    const bottom = await image(lying, { size: 2, crop: { scale: [0.25, 0.25], ratio: [1, 1] }, ...uint8 }, draws(0, 0, 0, 0.999));
    expect([...bottom]).toEqual(new Array(4).fill(BLUE).flat());
  });
});

describe("bad input", () => {
  it.each([
    ["no image", Buffer.from("not an image")],
    ["nothing", Buffer.alloc(0)],
  ])("%s is MILLRACE_DECODE", async (_, bytes) => {
    await expect(image(bytes, { size: 4 })).rejects.toMatchObject({ code: "MILLRACE_DECODE", cause: expect.any(Error) });
  });

  it("an image that is broken off is MILLRACE_DECODE", async () => {
    const whole = await sharp(await picture(200, 200, (x, y) => [x, y, (x * y) & 255]))
      .jpeg()
      .toBuffer();
    expect((await image(whole, { size: 4 })).length).toBe(48);
    await expect(image(whole.subarray(0, whole.length >> 1), { size: 4 })).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
  });

  it.each([
    [{ size: 0 }, "size"],
    [{ size: [4, 1.5] }, "size"],
    [{ size: 4, layout: "HWC" }, "layout"],
    [{ size: 4, dtype: "float16" }, "dtype"],
    [{ size: 4, channels: 2 }, "channels"],
    [{ size: 4, resize: "stretch" }, "resize"],
    [{ size: [4, 8], resize: 7 }, "resize"],
    [{ size: 4, crop: "middle" }, "crop"],
    [{ size: 4, crop: { scale: [0, 1] } }, "crop.scale"],
    [{ size: 4, crop: { scale: [0.5, 1.5] } }, "crop.scale"],
    [{ size: 4, crop: { scale: [0.5, 1], ratio: [2, 1] } }, "crop.ratio"],
    [{ size: 4, crop: { scale: [0.5, 1] }, resize: "cover" }, "crop"],
    [{ size: 4, crop: "random", resize: "fill" }, "crop"],
    [{ size: 4, dtype: "uint8", mean: 0.5 }, "mean"],
    [{ size: 4, mean: [1, 2] }, "mean"],
    [{ size: 4, std: 0 }, "std"],
    [{ size: 4, std: [1, Number.NaN, 1] }, "std"],
  ])("refuses %j, naming %s", async (options, named) => {
    await expect(image(halves, options as never, draws(0.1, 0.1, 0.1, 0.1))).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(new RegExp(`^${named}`)),
    });
  });

  it("asks for the context where there is something to draw", async () => {
    for (const options of [{ flip: true }, { crop: "random" }, { crop: { scale: [0.5, 1] } }] as const)
      await expect(image(halves, { size: 2, ...options } as never)).rejects.toMatchObject({
        code: "MILLRACE_CONFIG",
        message: expect.stringMatching(/^context/),
      });
  });
});

describe("sharp", () => {
  afterEach(() => {
    vi.doUnmock("sharp");
    vi.resetModules();
  });

  it("is asked for by name where it is not installed, and tried again afterwards", async () => {
    vi.resetModules();
    vi.doMock("sharp", () => {
      throw new Error("Cannot find package 'sharp'");
    });
    const { image: fresh } = await import("../../../src/adapters/decode.js");
    for (let i = 0; i < 2; i++)
      await expect(fresh(halves, { size: 2 })).rejects.toMatchObject({
        code: "MILLRACE_CONFIG",
        message: expect.stringContaining("npm install sharp"),
      });
  });

  it("runs one thread an image and keeps no cache within a worker, and is left as it is on the main thread", async () => {
    const before = sharp.concurrency();
    await image(halves, { size: 2 });
    expect(sharp.concurrency()).toBe(before);
    const worker = startWorker(new URL("./sharp-in-worker.ts", import.meta.url), { workerData: halves });
    const seen = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await worker.terminate();
    sharp.concurrency(before);
    sharp.cache(true);
    expect(seen).toEqual({ threads: 1, items: 0 });
  });
});
