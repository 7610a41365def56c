/** What the demo reads, from the command line: an origin of its own as a rule, a real S3 where one is named. */
import { parseArgs } from "node:util";
import type { S3Options } from "millrace";
import { type Origin, startOrigin } from "../../test/support/origin/index.js";

export interface Setting {
  readonly bucket: string;
  readonly s3: S3Options;
  readonly samples: number;
  readonly epochs: number;
  readonly origin: Origin | undefined;
  readonly where: string;
}

const HELP = `npm run demo -- [options]
  --samples N      pictures to draw (20000)
  --epochs N       epochs to train (3)
  --bucket NAME    write to this bucket of a real S3 instead of the built-in origin
  --endpoint URL   of an S3-compatible server; without it, AWS
Credentials for a real S3 come from where the AWS CLI has them. The demo writes 16 objects below shapes/ there, and leaves them.`;

function given() {
  try {
    return parseArgs({
      options: {
        samples: { type: "string", default: "20000" },
        epochs: { type: "string", default: "3" },
        bucket: { type: "string" },
        endpoint: { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function refuse(message: string): never {
  console.error(`${message}\n\n${HELP}`);
  process.exit(2);
}

export async function setting(): Promise<Setting> {
  const values = given();
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const samples = natural(values.samples, "--samples");
  const epochs = natural(values.epochs, "--epochs");
  if (values.endpoint !== undefined && values.bucket === undefined)
    refuse("--endpoint needs --bucket, an existing bucket that the demo may write to");
  if (values.bucket !== undefined) {
    const s3: S3Options = values.endpoint === undefined ? {} : { endpoint: values.endpoint, forcePathStyle: true, region: "us-east-1" };
    return { bucket: values.bucket, s3, samples, epochs, origin: undefined, where: values.endpoint ?? "AWS S3" };
  }
  const origin = await startOrigin({ shape: { firstByteMs: 30, connectionBytesPerSecond: 90e6 } });
  await origin.put("demo", "README", new Uint8Array(0)); // Makes the bucket.
  const { accessKeyId, secretAccessKey } = origin.credentials;
  const s3 = { endpoint: origin.endpoint, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true, region: "us-east-1" };
  return {
    bucket: "demo",
    s3,
    samples,
    epochs,
    origin,
    where: "built in, shaped like S3: 30 ms to the first byte, 90 MB/s a connection",
  };
}

function natural(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) refuse(`${option}: expected a whole number from 1, got ${text}`);
  return value;
}
