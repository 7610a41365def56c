import { Readable } from "node:stream";
import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { loadSdk } from "./s3-client.js";

const EMPTY_LISTING =
  '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>k</Key><Size>0</Size><ETag>"e"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents><IsTruncated>false</IsTruncated></ListBucketResult>';

/** Answers every request without sending it. */
const answerer: NonNullable<S3ClientConfig["requestHandler"]> = {
  handle: async () => ({
    response: { statusCode: 200, headers: { "content-type": "application/xml" }, body: Readable.from([Buffer.from(EMPTY_LISTING)]) },
  }),
  updateHttpClientConfig: () => undefined,
  httpHandlerConfigs: () => ({}),
};

/**
 * Loads the SDK and has it make one listing that is answered here: what it sets up and compiles at its first use takes a round trip's time,
 * which the first dataset would wait for. Nothing is sent, and nobody is asked for credentials.
 */
export async function warmSdk(): Promise<void> {
  const sdk = await loadSdk();
  const credentials = { accessKeyId: "none", secretAccessKey: "none" };
  try {
    // The defaults mode "auto" of the environment would ask the machine's metadata service.
    const client = new sdk.S3({
      region: "us-east-1",
      endpoint: "http://localhost",
      credentials,
      requestHandler: answerer,
      defaultsMode: "standard",
      maxAttempts: 1,
    });
    await client.listObjectsV2({ Bucket: "warm", Prefix: "" }).finally(() => client.destroy());
  } catch {
    // The first real request will show what is wrong, to whom it concerns.
  }
}
