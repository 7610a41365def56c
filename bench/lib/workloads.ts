/** Workloads in the shape of MLPerf Storage's, as datasets on a test origin. */
import { randomBytes, tfrecordShard, webdatasetShard } from "../../test/support/datasets/index.js";
import type { Origin } from "../../test/support/origin/index.js";
import type { Figures } from "./scenario.js";
import { Tally } from "./subject.js";

export interface Workload {
  readonly name: string;
  readonly format: "tfrecord" | "webdataset" | "files";
  /** Mean, and standard deviation where samples differ. */
  readonly sampleBytes: number;
  readonly deviationBytes?: number | undefined;
  readonly batchSize: number;
  /** Compute time of a step on one accelerator. */
  readonly stepMs: number;
}

export const UNET3D: Workload = {
  name: "unet3d-H100",
  format: "files",
  sampleBytes: 2_290_000,
  deviationBytes: 1_070_000,
  batchSize: 7,
  stepMs: 323,
};
export const RESNET50: Workload = { name: "resnet50-H100", format: "tfrecord", sampleBytes: 114_660, batchSize: 40, stepMs: 22.4 };
export const COSMOFLOW: Workload = { name: "cosmoflow-H100", format: "tfrecord", sampleBytes: 353_561, batchSize: 8, stepMs: 28 };
export const RETINANET: Workload = { name: "retinanet-B200", format: "webdataset", sampleBytes: 322_957, batchSize: 24, stepMs: 47.55 };

/** A normal deviate may call for a sample of no bytes at all. */
const LEAST_SAMPLE_BYTES = 100_000;
const SHARD_BYTES = 32e6;

export interface UploadedWorkload extends Workload {
  readonly prefix: string;
  /** The field with the sample's bytes. */
  readonly field: string;
  /** What reading all samples once gives. */
  readonly all: Figures & { readonly samples: number; readonly bytes: number };
  /** What the accelerator eats while it computes. */
  readonly bytesPerSecond: number;
}

/** As many samples as `steps` batches take; random bytes, the same each time. */
export async function uploadWorkload(origin: Origin, bucket: string, workload: Workload, steps: number): Promise<UploadedWorkload> {
  const { name, format, batchSize, stepMs } = workload;
  const tally = new Tally();
  const sizes = sampleSizes(workload, steps * batchSize);
  const perShard = format === "files" ? 1 : Math.max(1, Math.floor(SHARD_BYTES / workload.sampleBytes));
  for (let first = 0; first < sizes.length; first += perShard) {
    const payloads = sizes.slice(first, first + perShard).map((bytes, i) => randomBytes(bytes, first + i));
    for (const payload of payloads) tally.add(payload, 0, payload.length);
    for (const [file, bytes] of shardFiles(format, payloads))
      await origin.put(bucket, `${name}/${String(first).padStart(6, "0")}${file}`, bytes);
  }
  const field = { files: "bytes", tfrecord: "record", webdataset: "npy" }[format];
  const bytesPerSecond = tally.bytes / steps / (stepMs / 1000);
  return { ...workload, prefix: name, field, all: { ...tally }, bytesPerSecond };
}

/** By extension. */
function shardFiles(format: Workload["format"], payloads: readonly Uint8Array[]): readonly [string, Uint8Array][] {
  if (format === "files") return [[".npz", payloads[0]!]];
  if (format === "tfrecord") {
    const { bytes, index } = tfrecordShard(payloads);
    return [
      [".tfrecord", bytes],
      [".idx", Buffer.from(index)],
    ];
  }
  const { bytes, index } = webdatasetShard(payloads.map((npy, i) => ({ key: String(i).padStart(6, "0"), fields: { npy } })));
  return [
    [".tar", bytes],
    [".idx", Buffer.from(index)],
  ];
}

/** Normal deviates, by Box and Muller from a seeded generator. */
function sampleSizes({ sampleBytes, deviationBytes = 0 }: Workload, count: number): number[] {
  const uniform = new Uint32Array(randomBytes(count * 2 * Uint32Array.BYTES_PER_ELEMENT, 1).buffer);
  return Array.from({ length: count }, (_, i) => {
    const [u, v] = [(uniform[2 * i]! + 1) / 2 ** 32, uniform[2 * i + 1]! / 2 ** 32];
    const normal = Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
    return Math.max(LEAST_SAMPLE_BYTES, Math.round(sampleBytes + deviationBytes * normal));
  });
}
