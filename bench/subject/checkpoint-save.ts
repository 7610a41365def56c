/**
 * Tensors in memory made an object at the origin: by `mill.saveCheckpoint` (write-through), which also has it in its cache then; or by the SDK's
 * own parallel multipart upload, of the tensors as a stream, or of a buffer in which the file lies ready, which nobody counts here.
 */
import { Readable } from "node:stream";
import { Upload } from "@aws-sdk/lib-storage";
import { formatHeader } from "../../src/checkpoint/safetensors.js";
import { openMillrace } from "../../src/index.js";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { bytesOf, type CheckpointSize, measureWhole, namedTensors } from "../lib/checkpoint-data.js";
import { fetchWhole } from "../lib/plain-get.js";
import { s3Client } from "../lib/s3-client.js";
import { parameters, report } from "../lib/subject.js";

export interface CheckpointSaveParameters {
  /** Its reads are anonymous. */
  readonly origin: OriginInfo;
  readonly bucket: string;
  readonly key: string;
  readonly size: CheckpointSize;
  readonly by: "millrace" | "SDK, stream" | "SDK, buffer";
  /** Of the SDK: as Millrace has them. */
  readonly partBytes: number;
  readonly partsAtOnce: number;
  readonly memory: string;
  readonly passes: number;
}

const given = parameters<CheckpointSaveParameters>();
const { origin, bucket, key } = given;
const tensors = namedTensors(given.size);
const { bytes: header } = formatHeader(tensors);

/** The second function ends what the first has used. */
async function saver(): Promise<[save: () => Promise<unknown>, close: () => Promise<void>]> {
  if (given.by === "millrace") {
    const mill = await openMillrace({
      mounts: { "/ckpt": { uri: `s3://${bucket}`, admission: "lru" } },
      s3: s3Options(origin),
      cache: { memory: given.memory },
    });
    return [() => mill.saveCheckpoint(`/ckpt/${key}`, tensors, { write: "through" }), () => mill.close()];
  }
  const client = s3Client(origin);
  const file = [header, ...tensors.map((tensor) => bytesOf(tensor))];
  const whole = given.by === "SDK, buffer" ? Buffer.concat(file) : undefined;
  const upload = () => {
    const params = { Bucket: bucket, Key: key, Body: whole ?? Readable.from(file) };
    return new Upload({ client, params, partSize: given.partBytes, queueSize: given.partsAtOnce }).done();
  };
  return [upload, async () => client.destroy()];
}

const [run, close] = await saver();
await run();
const dataOf = async () => [(await fetchWhole(`${origin.endpoint}/${bucket}/${key}`)).subarray(header.byteLength)];
const through = await measureWhole(given.passes, { run, dataOf });
await close();
report({ through });
