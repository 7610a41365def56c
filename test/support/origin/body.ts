/** Request bodies: plain, or aws-chunked (`STREAMING-*`, with or without trailer), with the checksums they carry. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { crc32, crc32c } from "@node-rs/crc32";
import { S3Error } from "./errors.js";

const CHECKSUMS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  "x-amz-checksum-crc32": (bytes) => uint32(crc32(bytes)),
  "x-amz-checksum-crc32c": (bytes) => uint32(crc32c(bytes)),
  "x-amz-checksum-sha1": (bytes) => createHash("sha1").update(bytes).digest(),
  "x-amz-checksum-sha256": (bytes) => createHash("sha256").update(bytes).digest(),
};

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const declared = Number(request.headers["content-length"] ?? Number.NaN);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request) {
      chunks.push(chunk);
      length += chunk.length;
    }
  } catch {
    throw new S3Error("RequestTimeout");
  }
  if (!Number.isNaN(declared) && declared !== length) throw new S3Error("IncompleteBody");
  return Buffer.concat(chunks, length);
}

/** The data of an aws-chunked body, and its trailer's headers. */
export function decodeChunked(body: Buffer): { bytes: Buffer; trailers: Map<string, string> } {
  const pieces: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = body.indexOf("\r\n", at);
    const size = end < 0 ? Number.NaN : Number.parseInt(body.toString("latin1", at, end), 16);
    if (!(size >= 0)) throw new S3Error("IncompleteBody");
    at = end + 2;
    if (size === 0) break;
    if (at + size + 2 > body.length) throw new S3Error("IncompleteBody");
    pieces.push(body.subarray(at, at + size));
    at += size + 2;
  }
  const trailers = new Map<string, string>();
  for (const line of body.toString("latin1", at).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) trailers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { bytes: Buffer.concat(pieces), trailers };
}

/** Reads and checks a body: length, payload hash, Content-MD5, and any x-amz-checksum-* in headers or trailer. */
export async function readBody(request: IncomingMessage, payloadHash: string | undefined): Promise<Buffer> {
  const headers = request.headers;
  const raw = await collect(request);
  let bytes = raw;
  let trailers = new Map<string, string>();
  const chunked =
    headers["content-encoding"]?.includes("aws-chunked") || headers["x-amz-content-sha256"]?.toString().startsWith("STREAMING-");
  if (chunked) {
    ({ bytes, trailers } = decodeChunked(raw));
    if (Number(headers["x-amz-decoded-content-length"]) !== bytes.length) throw new S3Error("IncompleteBody");
    const promised = headers["x-amz-trailer"]?.toString().toLowerCase();
    if (promised !== undefined && !trailers.has(promised)) throw new S3Error("MalformedXML", `The trailer ${promised} is missing`);
  } else if (payloadHash !== undefined && /^[0-9a-f]{64}$/.test(payloadHash)) {
    if (createHash("sha256").update(bytes).digest("hex") !== payloadHash) throw new S3Error("XAmzContentSHA256Mismatch");
  }
  for (const [name, checksum] of Object.entries(CHECKSUMS)) {
    const expected = trailers.get(name) ?? headers[name]?.toString();
    if (expected !== undefined && checksum(bytes).toString("base64") !== expected) throw new S3Error("BadDigest");
  }
  const md5 = headers["content-md5"];
  if (md5 !== undefined && createHash("md5").update(bytes).digest("base64") !== md5) throw new S3Error("BadDigest");
  return bytes;
}
