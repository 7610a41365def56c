/**
 * Members of a tar archive: USTAR (POSIX.1-1988), PAX (POSIX.1-2001) and GNU (gnu.org/software/tar/manual, "Basic Tar Format").
 * Pure: the caller brings the bytes, and asks again with more where `need` says so.
 */

export const TAR_BLOCK = 512;
/** All extended headers of one member: names and PAX records are short; more is damage, and would be read whole. */
const MAX_EXTENSION_BYTES = 2 ** 20;

/** Thrown for bytes that are no tar header; never leaves the formats. */
export class TarError extends Error {}

export interface TarMember {
  readonly name: string;
  /** False for folders, links, devices. */
  readonly regular: boolean;
  /** From the member's first header (an extended one, where it has one) to its data. */
  readonly headerBytes: number;
  readonly size: number;
}

/**
 * The member whose first header is at `at`, in bytes up to `end`. "end" at the zero block that ends an archive.
 * A number: so many bytes from `at` are needed to say. Throws TarError.
 */
export function readMember(bytes: Uint8Array, at: number, end: number = bytes.length): TarMember | "end" | number {
  let name: string | undefined;
  let size: number | undefined;
  for (let position = at; ; ) {
    if (position + TAR_BLOCK > end) return position - at + TAR_BLOCK;
    const header = readHeader(bytes, position);
    if (header === undefined) return endOfArchive(position === at);
    const dataBegin = position + TAR_BLOCK;
    if (!EXTENSIONS.has(header.type)) {
      if (header.type === "S") throw new TarError("sparse members are not supported; write the archive without --sparse");
      const carries = !NO_DATA_TYPES.has(header.type);
      return {
        name: name ?? headerName(bytes, position),
        regular: REGULAR_TYPES.has(header.type),
        headerBytes: dataBegin - at,
        size: carries ? (size ?? header.size) : 0,
      };
    }
    const dataEnd = dataBegin + header.size;
    if (dataEnd - at > MAX_EXTENSION_BYTES) throw new TarError(`extended headers of ${dataEnd - at} bytes`);
    if (dataEnd > end) return dataEnd - at;
    if (header.type === "L") name = text(bytes, dataBegin, dataEnd);
    else if (header.type !== "K") {
      const pax = readPax(bytes, dataBegin, dataEnd);
      if (header.type === "g") refuseGlobal(pax);
      else {
        name = pax.path ?? name;
        size = pax.size ?? size;
      }
    }
    position = dataBegin + paddedSize(header.size);
  }
}

/** A member's data is followed by zeros up to a whole block. */
export function paddedSize(size: number): number {
  return Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
}

/** PAX for one member and for all that follow, GNU long name and long link. */
const EXTENSIONS: ReadonlySet<string> = new Set(["x", "g", "L", "K"]);
const REGULAR_TYPES: ReadonlySet<string> = new Set(["0", "\0", "7"]);
/** Links, devices, folders, pipes: no data follows, whatever their size field says. */
const NO_DATA_TYPES: ReadonlySet<string> = new Set(["1", "2", "3", "4", "5", "6"]);

interface TarHeader {
  readonly type: string;
  readonly size: number;
}

/** Undefined for a block of zeros. */
function readHeader(bytes: Uint8Array, at: number): TarHeader | undefined {
  let sum = 0;
  // Four at a time: half the time, and a header's checksum is the most of what a small member costs.
  for (let i = at; i < at + TAR_BLOCK; i += 4) sum += bytes[i]! + bytes[i + 1]! + bytes[i + 2]! + bytes[i + 3]!;
  if (sum === 0) return undefined;
  // The checksum counts its own eight bytes as spaces.
  let expected = sum + 8 * 0x20;
  for (let i = at + 148; i < at + 156; i++) expected -= bytes[i]!;
  if (octal(bytes, at + 148, 8) !== expected)
    throw new TarError("header checksum does not match; the shard is damaged or not a tar archive");
  return { type: String.fromCharCode(bytes[at + 156]!), size: number(bytes, at + 124, 12) };
}

function endOfArchive(first: boolean): "end" {
  if (first) return "end";
  throw new TarError("the archive ends after an extended header");
}

/** Name, after the prefix that only USTAR has: GNU keeps times there. */
function headerName(bytes: Uint8Array, at: number): string {
  const name = text(bytes, at, at + 100);
  const ustar = bytes[at + 257] === 0x75 && bytes[at + 262] === 0;
  if (!ustar || bytes[at + 345] === 0) return name;
  return `${text(bytes, at + 345, at + 500)}/${name}`;
}

/** Up to the first NUL, as UTF-8. */
function text(bytes: Uint8Array, begin: number, end: number): string {
  let stop = begin;
  while (stop < end && bytes[stop] !== 0) stop++;
  return Buffer.from(bytes.buffer, bytes.byteOffset + begin, stop - begin).toString("utf8");
}

/** Octal digits, or GNU's base 256 where the first bit is set. */
function number(bytes: Uint8Array, at: number, length: number): number {
  if (bytes[at]! < 0x80) return octal(bytes, at, length);
  if (bytes[at] !== 0x80) throw new TarError("a size is negative or out of range");
  let value = 0;
  for (let i = at + 1; i < at + length; i++) value = value * 256 + bytes[i]!;
  if (!Number.isSafeInteger(value)) throw new TarError("a size is out of range");
  return value;
}

function octal(bytes: Uint8Array, at: number, length: number): number {
  let i = at;
  const end = at + length;
  while (i < end && bytes[i] === 0x20) i++;
  let value = 0;
  for (; i < end && bytes[i] !== 0x20 && bytes[i] !== 0; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 7) throw new TarError("a number in the header is not octal; the shard is damaged or not a tar archive");
    value = value * 8 + digit;
  }
  return value;
}

interface Pax {
  path?: string;
  size?: number;
}

/** Records `"length key=value\n"`, where the length counts itself. */
function readPax(bytes: Uint8Array, begin: number, end: number): Pax {
  const pax: Pax = {};
  for (let at = begin; at < end; ) {
    let space = at;
    let length = 0;
    for (; bytes[space] !== 0x20; space++) {
      const digit = bytes[space]! - 0x30;
      if (space >= end || digit < 0 || digit > 9) throw new TarError("a PAX header is malformed");
      length = length * 10 + digit;
    }
    if (at + length > end || at + length <= space + 1) throw new TarError("a PAX header is malformed");
    addPax(pax, Buffer.from(bytes.buffer, bytes.byteOffset + space + 1, at + length - space - 2).toString("utf8"));
    at += length;
  }
  return pax;
}

function addPax(pax: Pax, record: string): void {
  const equals = record.indexOf("=");
  const key = record.slice(0, equals);
  const value = record.slice(equals + 1);
  if (key.startsWith("GNU.sparse.")) throw new TarError("sparse members are not supported; write the archive without --sparse");
  if (key === "path") pax.path = value;
  if (key !== "size") return;
  pax.size = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(pax.size)) throw new TarError("a size is out of range");
}

function refuseGlobal(pax: Pax): void {
  if (pax.path !== undefined || pax.size !== undefined) throw new TarError("a global PAX header sets the path or size of all members");
}
