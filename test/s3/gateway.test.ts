import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { expect, inject, test } from "vitest";

test("the gateway stores bytes, and serves ranges of one version only", async () => {
  const { endpoint, region, credentials } = inject("rgw");
  const s3 = new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1 });
  const at = { Bucket: "gateway", Key: "a b+c/ü" };
  await s3.send(new CreateBucketCommand({ Bucket: at.Bucket }));
  const first = await s3.send(new PutObjectCommand({ ...at, Body: "0123456789" }));
  const { Body, ContentRange } = await s3.send(new GetObjectCommand({ ...at, Range: "bytes=3-5", IfMatch: first.ETag }));
  expect([await Body!.transformToString(), ContentRange]).toEqual(["345", "bytes 3-5/10"]);
  await s3.send(new PutObjectCommand({ ...at, Body: "9876543210" }));
  await expect(s3.send(new GetObjectCommand({ ...at, IfMatch: first.ETag }))).rejects.toMatchObject({ $metadata: { httpStatusCode: 412 } });
  s3.destroy();
});
