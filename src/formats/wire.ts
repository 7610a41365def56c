/** Reads the protobuf wire format (protobuf.dev/programming-guides/encoding), bounds-checked. */

/** Thrown for bytes that are no protobuf message; never leaves the formats. */
export class WireError extends Error {}

export const VARINT = 0;
const FIXED64 = 1;
export const DELIMITED = 2;
export const FIXED32 = 5;

export class WireReader {
  readonly bytes: Uint8Array;
  position: number;
  /** Where the message being read ends. */
  end: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.position = 0;
    this.end = bytes.length;
  }

  /** A tag (field number × 8 + wire type) or a length. */
  varint32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.position >= this.end) throw new WireError("cut short");
      const byte = this.bytes[this.position++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80 && value < 2 ** 32) return value;
    }
    throw new WireError("a number is too long");
  }

  /** Reads a length and returns where the bytes it announces end; the position is then their begin. */
  delimited(): number {
    const length = this.varint32();
    const end = this.position + length;
    if (end > this.end) throw new WireError("a length points past the end");
    return end;
  }

  /** Passes over the value of a field. */
  skip(wireType: number): void {
    if (wireType === VARINT) this.skipVarint();
    else if (wireType === FIXED64) this.position += 8;
    else if (wireType === DELIMITED) this.position = this.delimited();
    else if (wireType === FIXED32) this.position += 4;
    else throw new WireError(`wire type ${wireType}`);
    if (this.position > this.end) throw new WireError("cut short");
  }

  skipVarint(): void {
    // 64 bits in groups of 7: ten bytes at most.
    for (let i = 0; i < 10; i++) {
      if (this.position >= this.end) break;
      if (this.bytes[this.position++]! < 0x80) return;
    }
    throw new WireError("a number is too long or cut short");
  }
}

/** Reads a tag; true for field 1 with bytes, else the field is passed over. */
export function isField1(reader: WireReader): boolean {
  const tag = reader.varint32();
  if (tag === 8 + DELIMITED) return true;
  if (tag < 8) throw new WireError("field number 0");
  reader.skip(tag % 8);
  return false;
}
