/**
 * TFRecord shards streamed each epoch anew, under an emulated accelerator: ranges by the AWS SDK, several ahead or none, with the
 * checksums of each record, in batches of fresh memory. With a HEAD before each read it is what a mount without caches does.
 */
import { GetObjectCommand, HeadObjectCommand } from "@aws-sdk/client-s3";
import { crc32c } from "@node-rs/crc32";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { emulateEpoch, utilization } from "../lib/emulated-loop.js";
import type { UploadedShard } from "../lib/origin-shards.js";
import { s3Client } from "../lib/s3-client.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report, Tally } from "../lib/subject.js";

const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;

export interface SdkLoopParameters {
  readonly origin: OriginInfo;
  readonly bucket: string;
  readonly shards: readonly UploadedShard[];
  readonly rangeBytes: number;
  /** Ranges in flight ahead of the one that is used; 0: each is asked for when the one before is used up. */
  readonly rangesAhead: number;
  readonly headEachRead: boolean;
  readonly batchSize: number;
  readonly sampleBytes: number;
  readonly computeMs: number;
  /** Of the origin, where the part of it that was used is to be reported. */
  readonly capBytesPerSecond?: number | undefined;
  /** Of each epoch. */
  readonly steps: number;
  /** Phase of each epoch. */
  readonly epochs: readonly string[];
}

const given = parameters<SdkLoopParameters>();
const s3 = s3Client(given.origin);

async function fetchRange(key: string, begin: number, end: number): Promise<Uint8Array> {
  const object = { Bucket: given.bucket, Key: key };
  if (given.headEachRead) await s3.send(new HeadObjectCommand(object));
  const { Body } = await s3.send(new GetObjectCommand({ ...object, Range: `bytes=${begin}-${end - 1}` }));
  return Body!.transformToByteArray();
}

function* requests(): Generator<Promise<Uint8Array>> {
  for (const { key, bytes } of given.shards)
    for (let begin = 0; begin < bytes; begin += given.rangeBytes) yield fetchRange(key, begin, Math.min(bytes, begin + given.rangeBytes));
}

/** The bytes of all shards in order. */
class ShardBytes {
  readonly #requests = requests();
  readonly #pending: Promise<Uint8Array>[] = [];
  #chunk: Uint8Array = new Uint8Array(0);

  constructor() {
    for (let i = 0; i < given.rangesAhead; i++) this.#start();
  }

  #start(): void {
    const next = this.#requests.next();
    if (!next.done) this.#pending.push(next.value);
  }

  /** False at the end. */
  async fill(target: Uint8Array): Promise<boolean> {
    for (let at = 0; at < target.length; ) {
      if (this.#chunk.length === 0) {
        if (given.rangesAhead === 0) this.#start();
        const next = this.#pending.shift();
        if (next === undefined) return false;
        this.#chunk = await next;
        if (given.rangesAhead > 0) this.#start();
      }
      const part = this.#chunk.subarray(0, target.length - at);
      target.set(part, at);
      at += part.length;
      this.#chunk = this.#chunk.subarray(part.length);
    }
    return true;
  }
}

const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

interface SampleBatch {
  readonly bytes: Uint8Array;
  readonly size: number;
}

async function* batches(): AsyncGenerator<SampleBatch> {
  const source = new ShardBytes();
  const header = Buffer.alloc(HEADER_BYTES);
  const footer = Buffer.alloc(FOOTER_BYTES);
  for (let step = 0; step < given.steps; step++) {
    const bytes = new Uint8Array(given.batchSize * given.sampleBytes);
    let size = 0;
    for (; size < given.batchSize && (await source.fill(header)); size++) {
      if (masked(crc32c(header.subarray(0, 8))) !== header.readUInt32LE(8)) throw new Error("length checksum");
      const begin = size * given.sampleBytes;
      const record = bytes.subarray(begin, begin + header.readUInt32LE(0));
      await source.fill(record);
      await source.fill(footer);
      if (masked(crc32c(record)) !== footer.readUInt32LE(0)) throw new Error("data checksum");
    }
    if (size === 0) return;
    yield { bytes, size };
  }
}

const computeMs = new Array<number>(given.steps).fill(given.computeMs);
const phases: Record<string, Figures> = {};
for (const epoch of given.epochs) {
  const tally = new Tally();
  const steps = await emulateEpoch(batches(), "idle", computeMs, ({ bytes, size }) => {
    for (let row = 0; row < size; row++) tally.add(bytes, row * given.sampleBytes, (row + 1) * given.sampleBytes);
  });
  const figures = utilization(steps);
  phases[epoch] = {
    ...tally,
    ...figures,
    megabytesPerSecond: tally.bytes / 1e6 / figures.wallSeconds!,
    ...(given.capBytesPerSecond !== undefined && { capShare: tally.bytes / figures.wallSeconds! / given.capBytesPerSecond }),
  };
}
report(phases);
s3.destroy();
