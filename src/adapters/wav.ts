/**
 * Sound in WAV files. Source: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), and Microsoft's
 * WAVEFORMATEXTENSIBLE: "RIFF", then chunks of name, length and content at even places, of which "fmt " and "data" matter.
 */
import { configError, decodeError } from "./decode-error.js";

export interface WavOptions {
  /** Default `"float32"`: −1 to 1. `"int16"`: −32,768 to 32,767, other depths rounded and cut off to it. */
  dtype?: "float32" | "int16" | undefined;
  /** True makes one channel, the mean of all. Default false. */
  mono?: boolean | undefined;
  /** Frames (samples a channel) of the result: what is longer is cut at its end, what is shorter gets zeros there. Default: as many as there are. */
  frames?: number | undefined;
}
export interface WavAudio<T extends Float32Array | Int16Array = Float32Array<ArrayBuffer>> {
  /** Frames a second. */
  readonly sampleRate: number;
  readonly channels: number;
  /** Samples a channel. */
  readonly frames: number;
  /** Channel after channel: shape `[channels, frames]`. */
  readonly data: T;
}

interface Encoding {
  readonly channels: number;
  readonly sampleRate: number;
  readonly bytesPerSample: number;
  /** The sample at this byte, −1 to 1. */
  readonly read: (view: DataView, at: number) => number;
}

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
/** Microphone arrays and ambisonics end far below; a damaged header must not ask for 65,535 channels of `frames` each. */
const MAX_CHANNELS = 256;
/** Largest `frames`: 12 hours at 48 kHz. */
const MAX_FRAMES = 2 ** 31 - 1;
/** What programs that write to a pipe put where they cannot know a length. */
const UNKNOWN_LENGTH = 0xffff_ffff;

/** By format and bits a sample. */
const READERS: Readonly<Record<string, Encoding["read"]>> = {
  [`${PCM}:8`]: (view, at) => (view.getUint8(at) - 0x80) / 0x80,
  [`${PCM}:16`]: (view, at) => view.getInt16(at, true) / 0x8000,
  [`${PCM}:24`]: (view, at) => (view.getUint8(at) + view.getInt16(at + 1, true) * 0x100) / 0x80_0000,
  [`${PCM}:32`]: (view, at) => view.getInt32(at, true) / 0x8000_0000,
  [`${FLOAT}:32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT}:64`]: (view, at) => view.getFloat64(at, true),
};

/**
 * The sound of a WAV file: PCM of 8, 16, 24 or 32 bits or floats of 32 or 64, plain or WAVE_FORMAT_EXTENSIBLE. Sample rates are left as they are.
 * Throws MILLRACE_CONFIG for an option, and MILLRACE_DECODE: no WAV file, one cut short, another encoding (ADPCM, A-law, …).
 */
export function wav(bytes: Uint8Array, options?: WavOptions & { dtype?: "float32" | undefined }): WavAudio;
/** The same with `dtype: "int16"`: values −32,768 to 32,767. */
export function wav(bytes: Uint8Array, options: WavOptions & { dtype: "int16" }): WavAudio<Int16Array<ArrayBuffer>>;
/** The same where the `dtype` is not known before it runs. */
export function wav(bytes: Uint8Array, options?: WavOptions): WavAudio<Float32Array<ArrayBuffer> | Int16Array<ArrayBuffer>>;
export function wav(bytes: Uint8Array, options: WavOptions = {}): WavAudio<Float32Array<ArrayBuffer> | Int16Array<ArrayBuffer>> {
  checkWavOptions(options);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { encoding, begin, end } = readChunks(view);
  const bytesPerFrame = encoding.bytesPerSample * encoding.channels;
  const stored = Math.floor((end - begin) / bytesPerFrame);
  const frames = options.frames ?? stored;
  const channels = options.mono ? 1 : encoding.channels;
  const data = options.dtype === "int16" ? new Int16Array(frames * channels) : new Float32Array(frames * channels);
  const mixed = encoding.channels / channels;
  // A Float32Array takes values as they are, an Int16Array cuts fractions off and lets large values wrap around.
  const stored16 = (value: number): number => Math.max(-0x8000, Math.min(0x7fff, Math.round(value * 0x8000)));
  const store = options.dtype === "int16" ? stored16 : (value: number): number => value;
  for (let channel = 0; channel < channels; channel++)
    for (let frame = 0; frame < Math.min(frames, stored); frame++) {
      let sum = 0;
      let at = begin + frame * bytesPerFrame + channel * encoding.bytesPerSample;
      for (let i = 0; i < mixed; i++, at += encoding.bytesPerSample) sum += encoding.read(view, at);
      data[channel * frames + frame] = store(sum / mixed);
    }
  return { sampleRate: encoding.sampleRate, channels, frames, data };
}

function readChunks(view: DataView): { encoding: Encoding; begin: number; end: number } {
  if (view.byteLength < 12 || name(view, 0) !== "RIFF" || name(view, 8) !== "WAVE") throw broken("it does not begin like one");
  let encoding: Encoding | undefined;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const begin = at + 8;
    const length = view.getUint32(at + 4, true);
    const isData = name(view, at) === "data";
    const end = isData && length === UNKNOWN_LENGTH ? view.byteLength : begin + length;
    if (end > view.byteLength)
      throw broken(`it is cut short: chunk "${name(view, at)}" ends at byte ${end}, the file at ${view.byteLength}`);
    if (isData && encoding === undefined) throw broken('its chunk "data" comes before "fmt "');
    if (isData) return { encoding: encoding!, begin, end };
    if (name(view, at) === "fmt ") encoding = readEncoding(view, begin, length);
    at = end + (length % 2);
  }
  throw broken('it has no chunk "data"');
}

function readEncoding(view: DataView, at: number, length: number): Encoding {
  if (length < 16) throw broken(`its chunk "fmt " has ${length} bytes, 16 are the least`);
  const tag = view.getUint16(at, true);
  const channels = view.getUint16(at + 2, true);
  const sampleRate = view.getUint32(at + 4, true);
  const bytesPerFrame = view.getUint16(at + 12, true);
  const bits = view.getUint16(at + 14, true);
  // The extended form has the format in the first two bytes of a GUID.
  const format = tag === EXTENSIBLE && length >= 40 ? view.getUint16(at + 24, true) : tag;
  const read = READERS[`${format}:${bits}`];
  if (read === undefined) throw broken(`format ${format} of ${bits} bits is not read, only PCM of 8 to 32 bits and floats`);
  if (channels === 0 || channels > MAX_CHANNELS || sampleRate === 0 || bytesPerFrame !== (channels * bits) / 8)
    throw broken(`its header makes no sense: ${channels} channels at ${sampleRate} Hz, ${bits} bits, ${bytesPerFrame} bytes a frame`);
  return { channels, sampleRate, bytesPerSample: bits / 8, read };
}

function name(view: DataView, at: number): string {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}

function checkWavOptions({ dtype = "float32", frames }: WavOptions): void {
  if (dtype !== "float32" && dtype !== "int16") throw configError(`dtype: expected one of float32, int16, got ${JSON.stringify(dtype)}`);
  if (frames !== undefined && !(Number.isInteger(frames) && frames > 0 && frames <= MAX_FRAMES))
    throw configError(`frames: expected a whole number from 1 to ${MAX_FRAMES}, got ${JSON.stringify(frames)}`);
}

function broken(why: string): Error {
  return decodeError(`The WAV sound cannot be decoded: ${why}`);
}
