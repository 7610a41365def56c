import { S3Client } from "@aws-sdk/client-s3";
import type { OriginInfo } from "../../test/support/origin/index.js";

export type S3Server = Pick<OriginInfo, "endpoint" | "region" | "credentials">;

/** The AWS SDK's client as a newcomer makes it, for a test origin, or for a server that takes no notice of signatures. */
export function s3Client({ endpoint, region, credentials }: S3Server): S3Client {
  const { accessKeyId, secretAccessKey } = credentials;
  return new S3Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true });
}
