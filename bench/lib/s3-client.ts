import { S3Client } from "@aws-sdk/client-s3";
import type { OriginInfo } from "../../test/support/origin/index.js";

/** The AWS SDK's client as a newcomer makes it, for a test origin. */
export function s3Client({ endpoint, region, credentials }: OriginInfo): S3Client {
  const { accessKeyId, secretAccessKey } = credentials;
  return new S3Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true });
}
