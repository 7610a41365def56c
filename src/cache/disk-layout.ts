/**
 * The layout of a cache directory. The version is in the path: another layout is another folder, and old ones are left alone.
 *
 *   <path>/millrace-v1/blocks/<2 hex>/<object id>-<block>-<units>   one block: 64 bytes of header, then the data
 *   <path>/millrace-v1/meta/<2 hex>/<hash>                          one metadata blob, the same header
 *   <path>/millrace-v1/tmp/<process>-<n>                            a file being written
 *   <path>/millrace-v1/procs/<process>                              a process that is alive: its modification time is its heartbeat
 *   <path>/millrace-v1/saves/<save>-<n>.data, .json, .lock          a saved checkpoint that is still to be uploaded, see engine/save-spool.ts
 *   <path>/millrace-v1/ledger.json, ledger.lock                     who may write how much
 *   <path>/millrace-v1/claims/<object id>-<group>                   a process that fetches blocks of a group for all
 *   <path>/millrace-v1/listener                                     the process that listens for peers
 */
import { join } from "node:path";
import { BLOCK_UNIT } from "../options.js";
import { crc32c } from "../util/crc32c.js";

export const LAYOUT = "millrace-v1";
/** Folder of the claims, and the lock of the process that listens. */
export const CLAIMS = "claims";
/** Folder of what is to be uploaded. */
export const SAVES = "saves";
export const LISTENER = "listener";
export const HEADER_BYTES = 64;
const MAGIC = 0x4d524231; // "MRB1"
/** Allowance for the inode (256 bytes on ext4, 512 on XFS) and the directory entry (about 48). */
const INODE_BYTES = 576;
const META_NAME = /^[0-9a-f]{32}$/;
const BLOCK_NAME = /^([0-9a-f]{32})-(\d{1,15})-(\d{1,9})$/;

/** What of the capacity a file of `length` data bytes takes: header, rounding to the file system's block, inode. */
export function fileCharge(length: number, fsBlock: number): number {
  return Math.ceil((HEADER_BYTES + length) / fsBlock) * fsBlock + INODE_BYTES;
}

/** Path of a block below the layout's folder. The name carries the block size, so that caches of other sizes are told apart. Neighbours lie in different folders, so that no folder grows with one large object. */
export function blockPath(objectId: string, block: number, blockSize: number): string {
  const folder = (Number.parseInt(objectId.slice(0, 2), 16) + block) % 256;
  return join("blocks", hex2(folder), `${objectId}-${block}-${blockSize / BLOCK_UNIT}`);
}

export function metaPath(hash: string): string {
  return join("meta", hash.slice(0, 2), hash);
}

function hex2(n: number): string {
  return n.toString(16).padStart(2, "0");
}

/** What a block file's name says, or undefined where it is none. */
export function parseBlockName(name: string): { objectId: string; block: number; blockSize: number } | undefined {
  const match = BLOCK_NAME.exec(name);
  return match === null ? undefined : { objectId: match[1]!, block: Number(match[2]), blockSize: Number(match[3]) * BLOCK_UNIT };
}

/** True where the name is one that blobs have. */
export function parseMetaName(name: string): boolean {
  return META_NAME.test(name);
}

/** Header of a file: magic, 16 bytes of identity, block number, length, crc32c of the data, and crc32c of the header itself. */
export function encodeHeader(id: string, block: number, bytes: Uint8Array): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, MAGIC);
  header.set(Buffer.from(id.slice(0, 32), "hex"), 4);
  view.setFloat64(24, block);
  view.setFloat64(32, bytes.length);
  view.setUint32(40, crc32c(bytes));
  view.setUint32(60, crc32c(header.subarray(0, 60)));
  return header;
}

/** The header of the same data of another object. */
export function renamedHeader(header: Uint8Array, id: string): Uint8Array {
  const renamed = header.slice();
  renamed.set(Buffer.from(id.slice(0, 32), "hex"), 4);
  new DataView(renamed.buffer).setUint32(60, crc32c(renamed.subarray(0, 60)));
  return renamed;
}

/** Length of the data that the header announces; undefined where it is not the header of this block. */
export function headerLength(header: Uint8Array, id: string, block: number): number | undefined {
  const view = new DataView(header.buffer, header.byteOffset, HEADER_BYTES);
  if (view.getUint32(0) !== MAGIC || view.getUint32(60) !== crc32c(header.subarray(0, 60))) return undefined;
  if (Buffer.from(header.subarray(4, 20)).toString("hex") !== id.slice(0, 32) || view.getFloat64(24) !== block) return undefined;
  return view.getFloat64(32);
}

/** True where these are the bytes that the header was written for. */
export function matches(header: Uint8Array, id: string, block: number, bytes: Uint8Array): boolean {
  if (headerLength(header, id, block) !== bytes.length) return false;
  return new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getUint32(40) === crc32c(bytes);
}
