/** Safetensors files made by hand, right or wrong: nothing here comes from the code under test. */

/** A file: the length, `json` as it stands (text, or a value to be written), and the data. `length` lies about the length. */
export function safetensorsFile(json: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array<ArrayBuffer> {
  const header = json instanceof Uint8Array ? json : Buffer.from(typeof json === "string" ? json : JSON.stringify(json));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(header.length));
  return Uint8Array.from(Buffer.concat([prefix, header, data]));
}

/** A tensor's entry in a header. */
export function entry(dtype: string, shape: readonly number[], begin: number, end: number): object {
  return { dtype, shape, data_offsets: [begin, end] };
}

export interface MadeTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A file with these tensors, in this order, behind one another. `pad`: bytes of white space behind the header, to shift the data. */
export function fileWith(
  tensors: readonly MadeTensor[],
  { metadata, pad = 0 }: { metadata?: object; pad?: number } = {},
): Uint8Array<ArrayBuffer> {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = at;
    at += bytes.length;
    return [name, entry(dtype, shape, begin, at)] as const;
  });
  const header = JSON.stringify({ ...(metadata && { __metadata__: metadata }), ...Object.fromEntries(entries) });
  return safetensorsFile(header + " ".repeat(pad), Buffer.concat(tensors.map(({ bytes }) => bytes)));
}
