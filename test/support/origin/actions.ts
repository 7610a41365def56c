/** S3's operations on buckets, uploads and objects, except GET and HEAD of an object. */
import type { ServerResponse } from "node:http";
import { readBody } from "./body.js";
import { checkWrite } from "./conditions.js";
import type { Counters } from "./counters.js";
import { S3Error } from "./errors.js";
import { listObjects } from "./listing.js";
import type { Objects } from "./objects.js";
import type { OriginRequest } from "./request.js";
import { xmlDocument, xmlText } from "./xml.js";

export function sendXml(response: ServerResponse, status: number, xml: string, headers: Readonly<Record<string, string>> = {}): void {
  const body = Buffer.from(xml);
  response.writeHead(status, { "content-type": "application/xml", "content-length": body.length, ...headers });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

function sendEmpty(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, status === 204 ? headers : { "content-length": 0, ...headers });
  response.end();
}

/** The request's headers that belong to the object. */
function objectHeaders(request: OriginRequest): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.http.headers)) {
    if (name === "content-type" || name === "cache-control" || name.startsWith("x-amz-meta-")) headers[name] = String(value);
  }
  const encoding = request.http.headers["content-encoding"]?.replace(/aws-chunked,? ?/, "");
  if (encoding) headers["content-encoding"] = encoding;
  return headers;
}

export class Actions {
  readonly #objects: Objects;
  readonly #counters: Counters;
  readonly #region: string;
  readonly #checksums: () => boolean;

  /** `checksums`: whether uploads may have checksums of their parts. */
  constructor(objects: Objects, counters: Counters, region: string, checksums: () => boolean) {
    this.#objects = objects;
    this.#counters = counters;
    this.#region = region;
    this.#checksums = checksums;
  }

  /** GET / lists the buckets; the rest is about one bucket. */
  async bucket(request: OriginRequest, response: ServerResponse): Promise<void> {
    const { method, bucket: name, query } = request;
    if (name === "") {
      const buckets = this.#objects.names().map((Name) => ({ Name, CreationDate: new Date(0).toISOString() }));
      return sendXml(response, 200, xmlDocument("ListAllMyBucketsResult", { Buckets: { Bucket: buckets } }));
    }
    if (method === "PUT") {
      await readBody(request.http, request.payloadHash);
      if (this.#objects.has(name)) throw new S3Error("BucketAlreadyOwnedByYou");
      this.#objects.create(name);
      return sendEmpty(response, 200, { location: `/${name}` });
    }
    const bucket = this.#objects.bucket(name);
    if (method === "HEAD") return sendEmpty(response, 200, { "x-amz-bucket-region": this.#region });
    if (method === "DELETE") {
      this.#objects.remove(name);
      return sendEmpty(response, 204);
    }
    if (method !== "GET") throw new S3Error("MethodNotAllowed");
    if (query.has("location")) return sendXml(response, 200, xmlDocument("LocationConstraint", {}));
    if (query.get("list-type") !== "2") throw new S3Error("NotImplemented", "Only ListObjectsV2 (list-type=2) is implemented");
    sendXml(response, 200, listObjects(name, bucket, query));
  }

  async put(request: OriginRequest, response: ServerResponse): Promise<void> {
    const { http, key } = request;
    if (request.method !== "PUT") throw new S3Error("MethodNotAllowed");
    if (http.headers["x-amz-copy-source"] !== undefined) throw new S3Error("NotImplemented", "CopyObject is not implemented");
    const bucket = this.#objects.bucket(request.bucket);
    const bytes = await readBody(http, request.payloadHash);
    this.#counters.received(bytes.length);
    checkWrite(http.headers, bucket.has(key) ? bucket.get(key) : undefined);
    const { etag } = bucket.put(key, bytes, objectHeaders(request));
    sendEmpty(response, 200, { etag });
  }

  delete(request: OriginRequest, response: ServerResponse): void {
    this.#objects.bucket(request.bucket).delete(request.key);
    sendEmpty(response, 204);
  }

  async multipart(request: OriginRequest, response: ServerResponse): Promise<void> {
    const { method, bucket, key, query } = request;
    const id = query.get("uploadId");
    if (id === undefined) {
      if (method === "GET" && key === "") return this.#listUploads(bucket, response);
      if (method !== "POST") throw new S3Error("MethodNotAllowed");
      await readBody(request.http, request.payloadHash);
      const UploadId = this.#objects.beginUpload(bucket, key, objectHeaders(request));
      const algorithm = request.http.headers["x-amz-checksum-algorithm"];
      const headers = typeof algorithm === "string" && this.#checksums() ? { "x-amz-checksum-algorithm": algorithm } : {};
      return sendXml(response, 200, xmlDocument("InitiateMultipartUploadResult", { Bucket: bucket, Key: key, UploadId }), headers);
    }
    const upload = this.#objects.upload(id, bucket, key);
    if (method === "PUT") {
      const bytes = await readBody(request.http, request.payloadHash);
      this.#counters.received(bytes.length);
      return sendEmpty(response, 200, { etag: this.#objects.putPart(upload, Number(query.get("partNumber")), bytes) });
    }
    if (method === "POST") return this.#complete(id, request, response);
    if (method === "DELETE") {
      this.#objects.uploads.delete(id);
      return sendEmpty(response, 204);
    }
    const parts = [...upload.parts].sort(([a], [b]) => a - b);
    const Part = parts.map(([PartNumber, { etag, bytes }]) => ({ PartNumber, ETag: etag, Size: bytes.length }));
    sendXml(response, 200, xmlDocument("ListPartsResult", { Bucket: bucket, Key: key, UploadId: id, IsTruncated: false, Part }));
  }

  async #complete(id: string, request: OriginRequest, response: ServerResponse): Promise<void> {
    const { bucket, key } = request;
    const body = (await readBody(request.http, request.payloadHash)).toString();
    const parts = [...body.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part]) => ({
      number: Number(xmlText(part!, "PartNumber")),
      etag: xmlText(part!, "ETag") ?? "",
    }));
    const current = this.#objects.bucket(bucket);
    checkWrite(request.http.headers, current.has(key) ? current.get(key) : undefined);
    const { etag } = this.#objects.completeUpload(id, this.#objects.upload(id, bucket, key), parts);
    sendXml(response, 200, xmlDocument("CompleteMultipartUploadResult", { Bucket: bucket, Key: key, ETag: etag }));
  }

  #listUploads(bucket: string, response: ServerResponse): void {
    this.#objects.bucket(bucket);
    const Upload = [...this.#objects.uploads]
      .filter(([, upload]) => upload.bucket === bucket)
      .map(([UploadId, { key }]) => ({ Key: key, UploadId }));
    sendXml(response, 200, xmlDocument("ListMultipartUploadsResult", { Bucket: bucket, IsTruncated: false, Upload }));
  }
}
