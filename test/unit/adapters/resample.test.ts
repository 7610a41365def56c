import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CropPlan, containPlan } from "../../../src/adapters/crop-plan.js";
import { valueFormat } from "../../../src/adapters/pixels.js";
import { type Pixels, resample } from "../../../src/adapters/resample.js";

const UINT8 = { dtype: "uint8", layout: "NHWC" } as const;
const GREY = valueFormat({ size: 1, ...UINT8, channels: 1 });

function grey(width: number, rows: readonly number[][]): Pixels {
  return { data: Uint8Array.from(rows.flat()), width, height: rows.length, channels: 1 };
}
const scaled = (source: Pixels, plan: CropPlan, mirror = false) => [...resample(source, plan, mirror, GREY)];

describe("resample", () => {
  it("leaves an image of the right size as it is", () => {
    const source = grey(3, [
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(scaled(source, { scale: { width: 3, height: 2 } })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(scaled(source, { scale: { width: 3, height: 2 } }, true)).toEqual([3, 2, 1, 6, 5, 4]);
  });

  it("enlarges in a straight line between the middles of pixels", () => {
    const ramp = grey(4, [[0, 40, 80, 120]]);
    expect(scaled(ramp, { scale: { width: 8, height: 1 } })).toEqual([0, 10, 30, 50, 70, 90, 110, 120]);
  });

  it("averages all that a pixel covers when it reduces, nearer pixels counting more", () => {
    // Half the size: the triangle reaches 2 pixels to each side, with weights 1/8 3/8 3/8 1/8.
    const bars = grey(8, [[0, 0, 0, 80, 0, 0, 0, 0]]);
    expect(scaled(bars, { scale: { width: 4, height: 1 } })).toEqual([0, 30, 10, 0]);
    const column = grey(1, [[0], [0], [0], [80], [0], [0], [0], [0]]);
    expect(scaled(column, { scale: { width: 1, height: 4 } })).toEqual([0, 30, 10, 0]);
  });

  it("cuts before, stretches, and cuts after", () => {
    const source = grey(6, [[9, 10, 20, 30, 40, 9]]);
    const before = { left: 1, top: 0, width: 4, height: 1 };
    expect(scaled(source, { before, scale: { width: 4, height: 1 } })).toEqual([10, 20, 30, 40]);
    const after = { left: 2, top: 0, width: 2, height: 1 };
    expect(scaled(source, { before, scale: { width: 4, height: 1 }, after })).toEqual([30, 40]);
    expect(scaled(source, { before, scale: { width: 4, height: 1 }, after }, true)).toEqual([40, 30]);
  });

  it("rounds uint8", () => {
    expect(scaled(grey(2, [[1, 2]]), { scale: { width: 1, height: 1 } })).toEqual([2]);
  });

  it("is black and opaque where the cut stands out", () => {
    const source: Pixels = { data: Uint8Array.from([10, 20, 30]), width: 1, height: 1, channels: 3 };
    const plan = containPlan(source, { width: 3, height: 1 });
    const format = valueFormat({ size: 1, ...UINT8, channels: 4 });
    expect([...resample(source, plan, false, format)]).toEqual([0, 0, 0, 255, 10, 20, 30, 255, 0, 0, 0, 255]);
    expect(containPlan(source, { width: 4, height: 1 }).after).toMatchObject({ left: -1, top: -0 });
    const tall = containPlan(source, { width: 1, height: 3 });
    expect([...resample(source, tall, false, valueFormat({ size: 1, ...UINT8, layout: "NCHW" }))]).toEqual([0, 10, 0, 0, 20, 0, 0, 30, 0]);
  });

  it("is the plain sum over all pixels, for any sizes, cuts and formats", () => {
    const side = fc.integer({ min: 1, max: 24 });
    const place = fc.record({
      source: fc.tuple(side, side),
      scale: fc.tuple(side, side),
      cut: fc.tuple(side, side, fc.nat(20), fc.nat(20)),
    });
    const formats = fc.record({
      layout: fc.constantFrom("NCHW" as const, "NHWC" as const),
      channels: fc.constantFrom(1 as const, 3 as const, 4 as const),
      mirror: fc.boolean(),
    });
    fc.assert(
      fc.property(place, formats, fc.nat(), (sizes, { layout, channels, mirror }, seed) => {
        const [width, height] = sizes.source;
        const depth = channels === 1 ? 1 : 3;
        const data = Uint8Array.from({ length: width * height * depth }, (_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 24);
        const source: Pixels = { data, width, height, channels: depth };
        const scale = { width: sizes.scale[0], height: sizes.scale[1] };
        const after = { width: sizes.cut[0], height: sizes.cut[1], left: sizes.cut[2] - 10, top: sizes.cut[3] - 10 };
        const seen = resample(source, { scale, after }, mirror, valueFormat({ size: 1, layout, channels, std: 1 / 255 }));
        const expected = expectedValue(source, scale);
        for (let y = 0; y < after.height; y++)
          for (let x = 0; x < after.width; x++)
            for (let c = 0; c < channels; c++) {
              const pixel = y * after.width + (mirror ? after.width - 1 - x : x);
              const value = seen[layout === "NCHW" ? c * after.width * after.height + pixel : pixel * channels + c]!;
              expect(Math.abs(value - expected(x + after.left, y + after.top, c))).toBeLessThan(1e-3);
            }
      }),
      { numRuns: 150 },
    );
  });
});

/** The definition, without any care for speed. */
function expectedValue(source: Pixels, scale: { width: number; height: number }) {
  const weights = (place: number, length: number, scaled: number): number[] => {
    const shrink = length / scaled;
    const all = Array.from({ length }, (_, at) => Math.max(0, 1 - Math.abs(at - ((place + 0.5) * shrink - 0.5)) / Math.max(1, shrink)));
    const total = all.reduce((sum, weight) => sum + weight, 0);
    return all.map((weight) => weight / total);
  };
  return (x: number, y: number, channel: number): number => {
    if (channel >= source.channels) return 255;
    if (x < 0 || y < 0 || x >= scale.width || y >= scale.height) return 0;
    const across = weights(x, source.width, scale.width);
    const down = weights(y, source.height, scale.height);
    let sum = 0;
    for (let row = 0; row < source.height; row++)
      for (let column = 0; column < source.width; column++)
        sum += down[row]! * across[column]! * source.data[(row * source.width + column) * source.channels + channel]!;
    return sum;
  };
}
