/**
 * crc32c (RFC 3720, appendix B.4) of eight bytes, by table. A call into native code costs more than the eight look-ups,
 * and an index scan makes one for every record; longer data goes to the native crc32c.
 */
const TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32cOf8(bytes: Uint8Array, at: number): number {
  let crc = 0xffffffff;
  for (let i = at; i < at + 8; i++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
