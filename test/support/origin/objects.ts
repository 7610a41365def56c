/** Buckets and objects, in memory or as files of a directory, and multipart uploads in progress. */
import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { S3Error } from "./errors.js";

export interface OriginObject {
  readonly size: number;
  /** With its quotes. */
  readonly etag: string;
  /** Milliseconds, whole seconds: HTTP dates have no fraction. */
  readonly lastModified: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | { readonly file: string };
}
export interface Upload {
  readonly bucket: string;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts: Map<number, { readonly bytes: Buffer; readonly etag: string }>;
}

/** S3's least size of a part that is not the last. */
const MIN_PART_BYTES = 5 * 2 ** 20;
const md5 = (bytes: Buffer): Buffer => createHash("md5").update(bytes).digest();
const wholeSecond = (ms: number): number => Math.floor(ms / 1000) * 1000;

/** Order of UTF-8 bytes, which differs from that of UTF-16 units only where surrogates meet U+E000 to U+FFFF. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const high = x >= 0xd800 && x <= 0xdfff;
    return high === (y >= 0xd800 && y <= 0xdfff) ? x - y : high ? 1 : -1;
  }
  return a.length - b.length;
}

export class Bucket {
  readonly #objects = new Map<string, OriginObject>();
  #sorted: readonly string[] | undefined;

  get(key: string): OriginObject {
    const object = this.#objects.get(key);
    if (object === undefined) throw new S3Error("NoSuchKey");
    return object;
  }

  has(key: string): boolean {
    return this.#objects.has(key);
  }

  get size(): number {
    return this.#objects.size;
  }

  set(key: string, object: OriginObject): void {
    if (!this.#objects.has(key)) this.#sorted = undefined;
    this.#objects.set(key, object);
  }

  delete(key: string): void {
    if (this.#objects.delete(key)) this.#sorted = undefined;
  }

  /** All keys in ascending order of UTF-8 bytes. */
  keys(): readonly string[] {
    this.#sorted ??= [...this.#objects.keys()].sort(compareUtf8);
    return this.#sorted;
  }

  put(key: string, body: Buffer, headers: Readonly<Record<string, string>>, etag: string = md5(body).toString("hex")): OriginObject {
    const object = { size: body.length, etag: `"${etag}"`, lastModified: wholeSecond(Date.now()), headers, body };
    this.set(key, object);
    return object;
  }
}

export class Objects {
  readonly #buckets = new Map<string, Bucket>();
  readonly uploads: Map<string, Upload> = new Map();
  #nextUpload = 1;

  bucket(name: string): Bucket {
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) throw new S3Error("NoSuchBucket");
    return bucket;
  }

  has(name: string): boolean {
    return this.#buckets.has(name);
  }

  names(): string[] {
    return [...this.#buckets.keys()].sort(compareUtf8);
  }

  create(name: string): Bucket {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = new Bucket();
      this.#buckets.set(name, bucket);
    }
    return bucket;
  }

  remove(name: string): void {
    if (this.bucket(name).size > 0) throw new S3Error("BucketNotEmpty");
    this.#buckets.delete(name);
  }

  /** Takes a directory's sub-directories as buckets. No file is read: a file's etag is made of its size and time. */
  addRoot(root: string): void {
    for (const name of readdirSync(root)) {
      if (!statSync(join(root, name)).isDirectory()) continue;
      const bucket = this.create(name);
      for (const entry of readdirSync(join(root, name), { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const file = join(entry.parentPath, entry.name);
        const { size, mtimeMs } = statSync(file);
        const etag = `"${Math.floor(mtimeMs).toString(16)}-${size.toString(16)}"`;
        bucket.set(file.slice(join(root, name).length + 1), {
          size,
          etag,
          lastModified: wholeSecond(mtimeMs),
          headers: {},
          body: { file },
        });
      }
    }
  }

  beginUpload(bucket: string, key: string, headers: Readonly<Record<string, string>>): string {
    this.bucket(bucket);
    const id = `upload-${this.#nextUpload++}`;
    this.uploads.set(id, { bucket, key, headers, parts: new Map() });
    return id;
  }

  upload(id: string, bucket: string, key: string): Upload {
    const upload = this.uploads.get(id);
    if (upload === undefined || upload.bucket !== bucket || upload.key !== key) throw new S3Error("NoSuchUpload");
    return upload;
  }

  putPart(upload: Upload, number: number, bytes: Buffer): string {
    if (!(Number.isInteger(number) && number >= 1 && number <= 10_000))
      throw new S3Error("InvalidArgument", "Part number must be 1 to 10000");
    const etag = `"${md5(bytes).toString("hex")}"`;
    upload.parts.set(number, { bytes, etag });
    return etag;
  }

  completeUpload(id: string, upload: Upload, listed: readonly { number: number; etag: string }[]): OriginObject {
    if (listed.length === 0) throw new S3Error("MalformedXML");
    if (listed.some(({ number }, i) => i > 0 && number <= listed[i - 1]!.number)) throw new S3Error("InvalidPartOrder");
    const parts = listed.map(({ number, etag }, i) => {
      const part = upload.parts.get(number);
      if (part === undefined || part.etag.replaceAll('"', "") !== etag.replaceAll('"', "")) throw new S3Error("InvalidPart");
      if (i < listed.length - 1 && part.bytes.length < MIN_PART_BYTES) throw new S3Error("EntityTooSmall");
      return part;
    });
    const etag = `${md5(Buffer.concat(parts.map((part) => Buffer.from(part.etag.slice(1, -1), "hex")))).toString("hex")}-${parts.length}`;
    const object = this.bucket(upload.bucket).put(upload.key, Buffer.concat(parts.map((part) => part.bytes)), upload.headers, etag);
    this.uploads.delete(id);
    return object;
  }
}
