/** Objects that are samples, as a newcomer reads them each epoch anew: GetObject for each, several in flight, copied into batches. */
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { type S3Server, s3Client } from "../lib/s3-client.js";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

export interface SdkFilesParameters {
  readonly origin: S3Server;
  readonly bucket: string;
  readonly keys: readonly string[];
  /** Read first, so that no code is timed while it is being compiled. */
  readonly warmUp: readonly string[];
  readonly batchSize: number;
  /** Of the largest file, with its header. */
  readonly sampleBytes: number;
  readonly headerBytes: number;
  readonly inFlight: number;
  readonly phase: string;
}

const given = parameters<SdkFilesParameters>();
const s3 = s3Client(given.origin);

async function fetchSample(key: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: given.bucket, Key: key }));
  return Body!.transformToByteArray();
}

async function readAll(keys: readonly string[]): Promise<Read> {
  const tally = new Tally();
  const pending: Promise<Uint8Array>[] = [];
  let next = 0;
  while (next < keys.length && next < given.inFlight) pending.push(fetchSample(keys[next++]!));
  let batch = new Uint8Array(0);
  for (let i = 0; i < keys.length; i++) {
    const row = i % given.batchSize;
    if (row === 0) batch = new Uint8Array(given.batchSize * given.sampleBytes);
    const bytes = await pending.shift()!;
    if (next < keys.length) pending.push(fetchSample(keys[next++]!));
    const begin = row * given.sampleBytes;
    batch.set(bytes, begin);
    tally.add(batch, begin + given.headerBytes, begin + bytes.length);
  }
  return tally;
}

await readAll(given.warmUp);
report({ [given.phase]: await measure(() => readAll(given.keys)) });
s3.destroy();
