import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Origin, startOrigin } from "../../support/origin/index.js";

let origin: Origin;
let s3: S3Client;

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["b"] });
  s3 = client();
});
afterAll(async () => {
  s3.destroy();
  await origin.close();
});
beforeEach(() => origin.reset());

function client(credentials = origin.credentials, maxAttempts = 1): S3Client {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  return new S3Client({
    endpoint: origin.endpoint,
    region: origin.region,
    forcePathStyle: true,
    maxAttempts,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
  });
}
const bytes = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 255);
async function get(Key: string, Range?: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: "b", Key, ...(Range === undefined ? {} : { Range }) }));
  return Body!.transformToByteArray();
}

test("puts, heads, gets and deletes, under odd names", async () => {
  for (const Key of ["plain", "a/b c+d%20e#f?g&h=i", "ü/日本/🎈", "a//b", "quote'(x)*!~", "dots/../up"]) {
    const { ETag } = await s3.send(new PutObjectCommand({ Bucket: "b", Key, Body: bytes(1000), Metadata: { kind: "x" } }));
    const head = await s3.send(new HeadObjectCommand({ Bucket: "b", Key }));
    expect([head.ETag, head.ContentLength, head.Metadata]).toEqual([ETag, 1000, { kind: "x" }]);
    expect(await get(Key)).toEqual(bytes(1000));
    expect(await get(Key, "bytes=10-19")).toEqual(bytes(1000).slice(10, 20));
    await s3.send(new DeleteObjectCommand({ Bucket: "b", Key }));
    await expect(get(Key)).rejects.toMatchObject({ name: "NoSuchKey" });
  }
  await expect(s3.send(new GetObjectCommand({ Bucket: "none", Key: "x" }))).rejects.toMatchObject({ name: "NoSuchBucket" });
});

test("takes the SDK's streamed bodies, with their trailing checksum", async () => {
  const stream = Readable.from([Buffer.from(bytes(100_000)), Buffer.from(bytes(50_000, 7))]);
  await s3.send(new PutObjectCommand({ Bucket: "b", Key: "streamed", Body: stream, ContentLength: 150_000 }));
  expect(Buffer.from(await get("streamed"))).toEqual(Buffer.concat([bytes(100_000), bytes(50_000, 7)]));
  expect((await origin.stats()).bytesReceived).toBe(150_000);
});

test("a write with If-None-Match: * does not replace", async () => {
  const put = () => s3.send(new PutObjectCommand({ Bucket: "b", Key: "once", Body: "1", IfNoneMatch: "*" }));
  await put();
  await expect(put()).rejects.toMatchObject({ name: "PreconditionFailed", $metadata: { httpStatusCode: 412 } });
});

test("multipart uploads", async () => {
  const at = { Bucket: "b", Key: "parts" };
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
  const sizes = [5 * 2 ** 20, 5 * 2 ** 20, 10];
  const Parts: CompletedPart[] = [];
  for (const [i, size] of sizes.entries()) {
    const { ETag } = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: i + 1, Body: bytes(size, i) }));
    Parts.push({ PartNumber: i + 1, ETag });
  }
  const listed = await s3.send(new ListPartsCommand({ ...at, UploadId }));
  expect(listed.Parts!.map((part) => part.Size)).toEqual(sizes);
  const complete = (parts: CompletedPart[]) =>
    s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts: parts } }));
  await expect(complete([...Parts].reverse())).rejects.toMatchObject({ name: "InvalidPartOrder" });
  await expect(complete([{ PartNumber: 1, ETag: '"00"' }])).rejects.toMatchObject({ name: "InvalidPart" });
  expect((await complete(Parts)).ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
  expect(await get("parts", `bytes=${sizes[0]! - 2}-${sizes[0]! + 1}`)).toEqual(
    Uint8Array.of(...bytes(sizes[0]!, 0).slice(-2), ...bytes(2, 1)),
  );
  await expect(s3.send(new ListPartsCommand({ ...at, UploadId }))).rejects.toMatchObject({ name: "NoSuchUpload" });
});

test("small parts are refused, and an aborted upload leaves nothing", async () => {
  const at = { Bucket: "b", Key: "aborted" };
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
  const Parts: CompletedPart[] = [];
  for (const PartNumber of [1, 2]) {
    const { ETag } = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body: "small" }));
    Parts.push({ PartNumber, ETag });
  }
  await expect(s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }))).rejects.toMatchObject({
    name: "EntityTooSmall",
  });
  expect((await s3.send(new ListMultipartUploadsCommand({ Bucket: "b" }))).Uploads).toHaveLength(1);
  await s3.send(new AbortMultipartUploadCommand({ ...at, UploadId }));
  expect((await s3.send(new ListMultipartUploadsCommand({ Bucket: "b" }))).Uploads ?? []).toEqual([]);
});

test("lists in pages, in the order of UTF-8 bytes", async () => {
  const keys = ["a", "a b", "a/", "a/1", "a/2", "a//x", "a0", "b/c/d", "\u{ffff}", "\u{1f600}", "é&<>"];
  for (const key of keys) await origin.put("list", key, new Uint8Array(3));
  const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const found: string[] = [];
  for (let ContinuationToken: string | undefined, pages = 0; ; pages++) {
    const page = await s3.send(
      new ListObjectsV2Command({ Bucket: "list", MaxKeys: 4, ...(ContinuationToken === undefined ? {} : { ContinuationToken }) }),
    );
    found.push(...page.Contents!.map(({ Key }) => Key!));
    ContinuationToken = page.NextContinuationToken;
    if (!page.IsTruncated) {
      expect(pages).toBe(2);
      break;
    }
  }
  expect(found).toEqual(sorted);
  const after = await s3.send(new ListObjectsV2Command({ Bucket: "list", StartAfter: "a/1", EncodingType: "url", Prefix: "a" }));
  expect(after.Contents!.map(({ Key }) => decodeURIComponent(Key!))).toEqual(["a/2", "a0"]);
});

test("rolls keys up at a delimiter, also where a page ends inside them", async () => {
  for (const key of ["p/", "p/a/1", "p/a/2", "p/b", "p/c/1", "q"]) await origin.put("roll", key, new Uint8Array(1));
  for (const MaxKeys of [1, 2, 1000]) {
    const names: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await s3.send(
        new ListObjectsV2Command({
          Bucket: "roll",
          Prefix: "p/",
          Delimiter: "/",
          MaxKeys,
          ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
        }),
      );
      names.push(...(page.Contents ?? []).map(({ Key }) => Key!), ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix!));
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
    expect(names.sort()).toEqual(["p/", "p/a/", "p/b", "p/c/"]);
  }
});

test("buckets", async () => {
  await s3.send(new CreateBucketCommand({ Bucket: "made" }));
  await s3.send(new HeadBucketCommand({ Bucket: "made" }));
  expect((await s3.send(new ListBucketsCommand({}))).Buckets!.map(({ Name }) => Name)).toContain("made");
  await origin.put("made", "x", new Uint8Array(1));
  await expect(s3.send(new DeleteBucketCommand({ Bucket: "made" }))).rejects.toMatchObject({ name: "BucketNotEmpty" });
  await s3.send(new DeleteObjectCommand({ Bucket: "made", Key: "x" }));
  await s3.send(new DeleteBucketCommand({ Bucket: "made" }));
  await expect(s3.send(new HeadBucketCommand({ Bucket: "made" }))).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } });
});

test("refuses wrong keys, wrong regions, and tokens that are missing or over", async () => {
  await origin.put("b", "secret", bytes(1));
  const head = async (credentials: typeof origin.credentials, region = origin.region) => {
    const other = client(credentials);
    other.config.region = async () => region;
    try {
      return await other.send(new GetObjectCommand({ Bucket: "b", Key: "secret" }));
    } finally {
      other.destroy();
    }
  };
  await expect(head({ ...origin.credentials, secretAccessKey: "wrong" })).rejects.toMatchObject({ name: "SignatureDoesNotMatch" });
  await expect(head({ ...origin.credentials, accessKeyId: "nobody" })).rejects.toMatchObject({ name: "InvalidAccessKeyId" });
  await expect(head(origin.credentials, "eu-west-1")).rejects.toMatchObject({ name: "AuthorizationHeaderMalformed" });
  const issued = await origin.issue();
  await head(issued);
  await expect(head({ ...issued, sessionToken: "other" })).rejects.toMatchObject({ name: "InvalidToken" });
  await expect(head(await origin.issue(0))).rejects.toMatchObject({ name: "ExpiredToken" });
  await origin.expireTokens();
  await expect(head(issued)).rejects.toMatchObject({ name: "ExpiredToken" });
});

test("a clock too far ahead is RequestTimeTooSkewed, from which the SDK recovers by the Date it is given", async () => {
  await origin.put("b", "late", bytes(5));
  await origin.shape({ clockOffsetMs: 20 * 60_000 });
  await expect(get("late")).rejects.toMatchObject({ name: "RequestTimeTooSkewed" });
  const retrying = client(origin.credentials, 2);
  await retrying.send(new GetObjectCommand({ Bucket: "b", Key: "late" })).then(({ Body }) => Body!.transformToByteArray());
  retrying.destroy();
  await origin.shape({});
});
