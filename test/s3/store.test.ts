import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { openStore } from "../../src/storage/open-store.js";
import { storeContract } from "../../src/testing/index.js";
import { s3Client } from "./fixture.js";

const rgw = inject("rgw");
const BUCKET = "contract";

const { endpoint, region, credentials } = rgw;
const open = (bucket: string, keys: typeof credentials = credentials) =>
  openStore(`s3://${bucket}`, { s3: { endpoint, region, credentials: keys, forcePathStyle: true } });

beforeAll(async () => {
  const client = s3Client(rgw);
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
});

describe("the store contract, kept by the s3 store on a real server", () => {
  for (const { name, run } of storeContract({ open: () => open(BUCKET) })) test(name, run);
});

describe("what a real server says", () => {
  test("no such bucket", async () => {
    const missing = await open("no-such-bucket");
    await expect(missing.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await expect(missing.stat("x")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await missing.close?.();
  });

  test("wrong keys", async () => {
    const refused = await open(BUCKET, { ...credentials, secretAccessKey: "wrong" });
    await expect(refused.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    await expect(refused.stat("x")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    await refused.close?.();
  });
});
