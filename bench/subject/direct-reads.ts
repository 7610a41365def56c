/** Ranges of an object one after another, straight from the origin over one kept connection: by undici, or by the AWS SDK. */
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { Pool } from "undici";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { s3Client } from "../lib/s3-client.js";
import { measure, parameters, report, Tally } from "../lib/subject.js";

const given = parameters<{
  origin: OriginInfo;
  client: "undici" | "aws-sdk";
  bucket: string;
  key: string;
  readBytes: number;
  begins: number[];
}>();
/** Reads before the clock starts: connection and compiled code. */
const WARM_UP_READS = 8;

type Fetch = (begin: number, end: number) => Promise<Uint8Array>;

function undiciFetch(): { fetch: Fetch; close: () => Promise<void> } {
  const pool = new Pool(given.origin.endpoint, { connections: 1, pipelining: 1 });
  const path = `/${given.bucket}/${given.key}`;
  const fetch: Fetch = async (begin, end) => {
    const { statusCode, body } = await pool.request({ path, method: "GET", headers: { range: `bytes=${begin}-${end - 1}` } });
    if (statusCode !== 206) throw new Error(`status ${statusCode}`);
    return body.bytes();
  };
  return { fetch, close: () => pool.close() };
}

function sdkFetch(): { fetch: Fetch; close: () => Promise<void> } {
  const s3 = s3Client(given.origin);
  const fetch: Fetch = async (begin, end) => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: given.bucket, Key: given.key, Range: `bytes=${begin}-${end - 1}` }));
    return Body!.transformToByteArray();
  };
  return { fetch, close: async () => s3.destroy() };
}

const { fetch, close } = given.client === "undici" ? undiciFetch() : sdkFetch();

async function readAll(begins: readonly number[]): Promise<Tally> {
  const tally = new Tally();
  for (const begin of begins) {
    const bytes = await fetch(begin, begin + given.readBytes);
    tally.add(bytes, 0, bytes.length);
  }
  return tally;
}

await readAll(given.begins.slice(0, WARM_UP_READS));
report({ direct: await measure(() => readAll(given.begins)) });
await close();
