/** What a newcomer writes: GetObject for each sample, 8 in flight, copied into batches. */
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

const IN_FLIGHT = 8;
const given = parameters<{
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
  bucket: string;
  batchSize: number;
  sampleBytes: number;
  keys: string[];
  warmUp: string[];
}>();
const s3 = new S3Client({ endpoint: given.endpoint, region: given.region, credentials: given.credentials, forcePathStyle: true });

async function fetchSample(key: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: given.bucket, Key: key }));
  return Body!.transformToByteArray();
}

async function readAll(keys: readonly string[]): Promise<Read> {
  const tally = new Tally();
  const pending: Promise<Uint8Array>[] = [];
  let next = 0;
  while (next < keys.length && next < IN_FLIGHT) pending.push(fetchSample(keys[next++]!));
  let batch = new Uint8Array(0);
  for (let i = 0; i < keys.length; i++) {
    const row = i % given.batchSize;
    if (row === 0) batch = new Uint8Array(given.batchSize * given.sampleBytes);
    const bytes = await pending.shift()!;
    if (next < keys.length) pending.push(fetchSample(keys[next++]!));
    batch.set(bytes, row * given.sampleBytes);
    tally.add(batch, row * given.sampleBytes, row * given.sampleBytes + bytes.length);
  }
  return tally;
}

await readAll(given.warmUp);
report({ cold: await measure(() => readAll(given.keys)) });
s3.destroy();
