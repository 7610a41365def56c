/** What a newcomer writes: GetObject for each sample, 8 in flight, copied into batches. */
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

export interface SampleParameters {
  readonly endpoint: string;
  /** `/bucket/key` of each sample. */
  readonly paths: readonly string[];
  /** Of these, so many are read first, so that no code is timed while it is being compiled. */
  readonly warmUp: number;
  readonly batchSize: number;
  readonly sampleBytes: number;
}

const IN_FLIGHT = 8;
const given = parameters<SampleParameters>();
// nginx takes no notice of the signature.
const credentials = { accessKeyId: "any", secretAccessKey: "any" };
const s3 = new S3Client({ endpoint: given.endpoint, region: "us-east-1", credentials, forcePathStyle: true });

async function fetchSample(path: string): Promise<Uint8Array> {
  const [, bucket, ...key] = path.split("/");
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key.join("/") }));
  return Body!.transformToByteArray();
}

async function readAll(paths: readonly string[]): Promise<Read> {
  const tally = new Tally();
  const pending: Promise<Uint8Array>[] = [];
  let next = 0;
  while (next < paths.length && next < IN_FLIGHT) pending.push(fetchSample(paths[next++]!));
  let batch = new Uint8Array(0);
  for (let i = 0; i < paths.length; i++) {
    const row = i % given.batchSize;
    if (row === 0) batch = new Uint8Array(given.batchSize * given.sampleBytes);
    const bytes = await pending.shift()!;
    if (next < paths.length) pending.push(fetchSample(paths[next++]!));
    batch.set(bytes, row * given.sampleBytes);
    tally.add(batch, row * given.sampleBytes, row * given.sampleBytes + bytes.length);
  }
  return tally;
}

await readAll(given.paths.slice(0, given.warmUp));
report({ cold: await measure(() => readAll(given.paths)) });
s3.destroy();
