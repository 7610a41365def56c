/** The datasets of the end-to-end tests, and how each format's fields are named. */
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { RgwInfo } from "../support/ceph/rgw.js";
import { type MadeDataset, makeDataset } from "../support/datasets/index.js";

export const FORMATS = ["tfrecord", "webdataset", "files"] as const;
export type Format = (typeof FORMATS)[number];

export const FIELDS = {
  tfrecord: { image: "bytes", label: "int32" },
  webdataset: { bin: "bytes", cls: "int32" },
  files: { bytes: "bytes", label: "int32" },
} as const;
export const NAMES: Readonly<Record<Format, { payload: string; label: string }>> = {
  tfrecord: { payload: "image", label: "label" },
  webdataset: { payload: "bin", label: "cls" },
  files: { payload: "bytes", label: "label" },
};

export function make(format: Format): MadeDataset {
  return makeDataset({ format, samples: 240, shards: 6, bytesPerSample: 3000, indexed: format === "webdataset" });
}

/** `sha256:label` of every sample, sorted: what an epoch must deliver, once each. */
export function expected(made: MadeDataset): string[] {
  return made.samples.map(({ sha256, label }) => `${sha256}:${label}`).sort();
}

export function s3Client({ endpoint, region, credentials }: RgwInfo): S3Client {
  // A copy: the SDK writes to the object it is given.
  return new S3Client({ endpoint, region, credentials: { ...credentials }, forcePathStyle: true });
}

/** Makes the bucket and uploads the dataset below its format's name. */
export async function upload(rgw: RgwInfo, bucket: string, datasets: ReadonlyMap<Format, MadeDataset>): Promise<void> {
  const s3 = s3Client(rgw);
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  for (const [format, { objects }] of datasets)
    for (const [key, Body] of objects) await s3.send(new PutObjectCommand({ Bucket: bucket, Key: `${format}/${key}`, Body }));
  s3.destroy();
}
