/** The little of the protobuf wire format that writing a small file takes. */

/** A field's number and its value: numbers as varints; text, bytes and nested messages with their length before them. */
export type ProtobufField = readonly [number: number, value: number | string | Uint8Array];

export function message(...fields: readonly ProtobufField[]): Uint8Array {
  const parts = fields.flatMap(([number, value]) => {
    if (typeof value === "number") return [varint(number * 8), varint(value)];
    const bytes = typeof value === "string" ? Buffer.from(value) : value;
    return [varint(number * 8 + 2), varint(bytes.length), bytes];
  });
  return Buffer.concat(parts);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.of(...bytes, rest);
}
