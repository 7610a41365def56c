import { describe, expect, it } from "vitest";
import { type WavOptions, wav } from "../../../src/adapters/decode.js";

interface Sound {
  format?: number;
  bits?: number;
  channels?: number;
  rate?: number;
  extensible?: boolean;
}
function chunk(name: string, content: Uint8Array, length = content.length): Buffer {
  const head = Buffer.from(`${name}----`);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, content, Buffer.alloc(content.length % 2)]);
}
function formatChunk({ format = 1, bits = 16, channels = 1, rate = 8000, extensible = false }: Sound): Buffer {
  const content = Buffer.alloc(extensible ? 40 : 16);
  content.writeUInt16LE(extensible ? 0xfffe : format, 0);
  content.writeUInt16LE(channels, 2);
  content.writeUInt32LE(rate, 4);
  content.writeUInt32LE(0, 8);
  content.writeUInt16LE((channels * bits) / 8, 12);
  content.writeUInt16LE(bits, 14);
  if (extensible) content.writeUInt16LE(format, 24);
  return chunk("fmt ", content);
}
function riff(...chunks: readonly Uint8Array[]): Buffer {
  return chunk("RIFF", Buffer.concat([Buffer.from("WAVE"), ...chunks]));
}
const sound = (data: Uint8Array, of: Sound = {}) => riff(formatChunk(of), chunk("data", data));
const raw = (values: ArrayBufferView<ArrayBuffer>) => new Uint8Array(values.buffer);

describe("wav", () => {
  it("reads 16-bit PCM as float32 and as int16", () => {
    const bytes = sound(raw(Int16Array.of(0, 16_384, -32_768, 32_767)), { rate: 44_100 });
    expect(wav(bytes)).toEqual({ sampleRate: 44_100, channels: 1, frames: 4, data: Float32Array.of(0, 0.5, -1, 32_767 / 32_768) });
    expect(wav(bytes, { dtype: "int16" }).data).toEqual(Int16Array.of(0, 16_384, -32_768, 32_767));
  });

  it.each([
    ["8-bit PCM", { bits: 8 }, Uint8Array.of(0x80, 0xc0, 0)],
    ["24-bit PCM", { bits: 24 }, Uint8Array.of(0, 0, 0, 0, 0, 0x40, 0, 0, 0x80)],
    ["32-bit PCM", { bits: 32 }, raw(Int32Array.of(0, 2 ** 30, -(2 ** 31)))],
    ["32-bit floats", { bits: 32, format: 3 }, raw(Float32Array.of(0, 0.5, -1))],
    ["64-bit floats", { bits: 64, format: 3 }, raw(Float64Array.of(0, 0.5, -1))],
    ["the extensible form", { extensible: true }, raw(Int16Array.of(0, 16_384, -32_768))],
    ["floats in the extensible form", { extensible: true, bits: 32, format: 3 }, raw(Float32Array.of(0, 0.5, -1))],
  ])("reads %s", (_, of, data) => {
    expect(wav(sound(data, of)).data).toEqual(Float32Array.of(0, 0.5, -1));
    expect(wav(sound(data, of), { dtype: "int16" }).data).toEqual(Int16Array.of(0, 16_384, -32_768));
  });

  it("takes options whose dtype is known only when it runs", () => {
    const options: WavOptions = { dtype: "int16" };
    expect(wav(sound(new Uint8Array(2)), options).data).toBeInstanceOf(Int16Array);
  });

  it("sorts stereo by channel, and mixes it down", () => {
    const bytes = sound(raw(Int16Array.of(100, 200, -3, 4, 32_767, 32_767)), { channels: 2 });
    expect(wav(bytes, { dtype: "int16" })).toMatchObject({ channels: 2, frames: 3, data: Int16Array.of(100, -3, 32_767, 200, 4, 32_767) });
    expect(wav(bytes, { dtype: "int16", mono: true })).toMatchObject({ channels: 1, frames: 3, data: Int16Array.of(150, 1, 32_767) });
    expect(wav(bytes, { mono: true }).data[0]).toBeCloseTo(150 / 32_768, 9);
  });

  it("cuts and pads at the end, each channel", () => {
    const bytes = sound(raw(Int16Array.of(1, 10, 2, 20)), { channels: 2 });
    expect(wav(bytes, { dtype: "int16", frames: 1 })).toMatchObject({ frames: 1, data: Int16Array.of(1, 10) });
    expect(wav(bytes, { dtype: "int16", frames: 3 })).toMatchObject({ frames: 3, data: Int16Array.of(1, 2, 0, 10, 20, 0) });
    expect(wav(sound(new Uint8Array()), { frames: 2 }).data).toEqual(new Float32Array(2));
  });

  it("cuts floats beyond full scale off for int16, and leaves them for float32", () => {
    const bytes = sound(raw(Float32Array.of(1.5, -2)), { format: 3, bits: 32 });
    expect(wav(bytes, { dtype: "int16" }).data).toEqual(Int16Array.of(32_767, -32_768));
    expect(wav(bytes).data).toEqual(Float32Array.of(1.5, -2));
  });

  it("walks over other chunks, of odd lengths too, and ignores half a frame at the end", () => {
    const data = raw(Int16Array.of(5, 6));
    const bytes = riff(
      chunk("LIST", new Uint8Array(7)),
      formatChunk({}),
      chunk("fact", new Uint8Array(4)),
      chunk("data", data),
      chunk("id3 ", data),
    );
    expect(wav(bytes, { dtype: "int16" }).data).toEqual(Int16Array.of(5, 6));
    expect(wav(sound(Uint8Array.of(5, 0, 6)), { dtype: "int16" }).data).toEqual(Int16Array.of(5));
  });

  it("reads to the file's end where the writer did not know the length", () => {
    const bytes = riff(formatChunk({}), chunk("data", raw(Int16Array.of(5, 6)), 0xffff_ffff));
    expect(wav(bytes, { dtype: "int16" }).data).toEqual(Int16Array.of(5, 6));
  });

  it("reads bytes that lie anywhere", () => {
    const bytes = Buffer.concat([Buffer.alloc(1), sound(raw(Int16Array.of(7)))]).subarray(1);
    expect(wav(bytes, { dtype: "int16" }).data).toEqual(Int16Array.of(7));
  });

  const data = chunk("data", raw(Int16Array.of(1)));
  it.each([
    ["other bytes", Buffer.from("RIFFxxxxAVI something")],
    ["nothing", new Uint8Array()],
    ["no data", riff(formatChunk({}))],
    ["data before its format", riff(data, formatChunk({}))],
    ["data cut short", sound(new Uint8Array(100)).subarray(0, 90)],
    ["a format cut short", riff(chunk("fmt ", new Uint8Array(14)), data)],
    ["ADPCM", riff(formatChunk({ format: 2, bits: 4, channels: 2 }), data)],
    ["12 bits", riff(formatChunk({ bits: 12, channels: 2 }), data)],
    ["an extensible form cut short", riff(formatChunk({ format: 0xfffe }), data)],
    ["no channels", riff(formatChunk({ channels: 0 }), data)],
    ["channels without end", riff(formatChunk({ channels: 32_000, bits: 16 }), data)],
    ["no sample rate", riff(formatChunk({ rate: 0 }), data)],
    ["a frame size that does not fit", riff(withFrameSize(formatChunk({}), 4), data)],
  ])("%s: MILLRACE_DECODE", (_, bytes) => {
    expect(() => wav(bytes)).toThrow(expect.objectContaining({ code: "MILLRACE_DECODE" }));
  });

  it.each([
    [{ dtype: "int8" }, "dtype"],
    [{ frames: 0 }, "frames"],
    [{ frames: 1.5 }, "frames"],
    [{ frames: 2 ** 31 }, "frames"],
  ])("refuses %j, naming %s", (options, named) => {
    expect(() => wav(sound(new Uint8Array(2)), options as never)).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(new RegExp(`^${named}`)) }),
    );
  });
});

function withFrameSize(format: Buffer, bytes: number): Buffer {
  format.writeUInt16LE(bytes, 8 + 12);
  return format;
}
