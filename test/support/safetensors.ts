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
