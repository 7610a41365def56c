/** What a JPEG says of itself before its pixels begin. Source: ITU-T T.81 (JPEG), annex B; Exif 2.32, 4.6 (orientation). */
import type { Size } from "./crop-plan.js";

export interface JpegHeader extends Size {
  /** 1 is grey, 3 is colour. */
  readonly channels: 1 | 3;
  /** Exif's, 1 to 8: how the stored pixels lie. 1, upright, where the file does not say. */
  readonly orientation: number;
  /** Its colours are told by an ICC profile. */
  readonly hasProfile: boolean;
}

const SOI = 0xd8;
const SOS = 0xda;
const APP1 = 0xe1;
const APP2 = 0xe2;
/** Baseline, extended and progressive, by Huffman codes. */
const FRAMES: readonly number[] = [0xc0, 0xc1, 0xc2];
/** Lossless, hierarchical and arithmetic frames. C4, C8 and CC are tables among them. */
const OTHER_FRAMES: readonly number[] = [0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf];
/** As in libvips: more pixels than this are no photo, and four bytes of each still count within 31 bits. */
const MAX_PIXELS = 0x3fff ** 2;
/** An 8 × 8 block takes a bit at least, and components may be stored at half the size: whoever announces more pixels has not got them. */
const MAX_PIXELS_PER_BYTE = 1024;

/**
 * Undefined where `bytes` is no JPEG, or one whose head is damaged, or of a kind that few decoders read alike (CMYK, 12 bits,
 * arithmetic coding, lossless), or cannot hold the pixels that it announces. So what is returned may be allocated for.
 */
export function jpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== SOI) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let frame: (Size & { channels: 1 | 3 }) | undefined;
  let orientation = 1;
  let hasProfile = false;
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at++; // Padding between segments.
      continue;
    }
    const end = at + 2 + view.getUint16(at + 2);
    if (end > bytes.length) return undefined;
    const segment = bytes.subarray(at + 4, end);
    if (marker === SOS) return frame && { ...frame, orientation, hasProfile };
    if (OTHER_FRAMES.includes(marker)) return undefined;
    if (FRAMES.includes(marker)) {
      if (frame !== undefined) return undefined;
      frame = frameSize(segment, bytes.length);
      if (frame === undefined) return undefined;
    } else if (marker === APP1 && begins(segment, "Exif\0\0")) orientation = exifOrientation(segment.subarray(6));
    else if (marker === APP2 && begins(segment, "ICC_PROFILE\0")) hasProfile = true;
    at = end;
  }
  return undefined;
}

function frameSize(segment: Uint8Array, fileBytes: number): (Size & { channels: 1 | 3 }) | undefined {
  if (segment.length < 6) return undefined;
  const [bits, high, low, left, right, channels] = segment as unknown as [number, number, number, number, number, number];
  const height = high * 256 + low;
  const width = left * 256 + right;
  const pixels = width * height;
  if (bits !== 8 || pixels === 0 || pixels > Math.min(MAX_PIXELS, fileBytes * MAX_PIXELS_PER_BYTE)) return undefined;
  return channels === 1 || channels === 3 ? { width, height, channels } : undefined;
}

/** Tag 0x112 of the first directory of a TIFF header. 1 where there is none, or none that makes sense. */
function exifOrientation(tiff: Uint8Array): number {
  const littleEndian = begins(tiff, "II*\0");
  if (!littleEndian && !begins(tiff, "MM\0*")) return 1;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 8) return 1;
  const directory = view.getUint32(4, littleEndian);
  if (directory + 2 > tiff.length) return 1;
  const entries = Math.min(view.getUint16(directory, littleEndian), Math.floor((tiff.length - directory - 2) / 12));
  for (let i = 0; i < entries; i++) {
    const entry = directory + 2 + i * 12;
    if (view.getUint16(entry, littleEndian) !== 0x112) continue;
    const value = view.getUint16(entry + 8, littleEndian);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

function begins(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}
