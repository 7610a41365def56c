/** Ranges of an object one after another through `mill.open`, before and after a prefetch of the object. */
import { openMillrace } from "../../src/index.js";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { measure, parameters, report, Tally, timed } from "../lib/subject.js";

const given = parameters<{
  origin: OriginInfo;
  bucket: string;
  key: string;
  memory: string;
  readBytes: number;
  begins: number[];
  coldReads: number;
}>();
/** Reads before the clock starts: connection and compiled code. */
const WARM_UP_READS = 8;

const mill = await openMillrace({ s3: s3Options(given.origin), cache: { memory: given.memory } });
const path = `s3://${given.bucket}/${given.key}`;
const file = await mill.open(path);
const target = new Uint8Array(given.readBytes);

async function readAll(begins: readonly number[]): Promise<Tally> {
  const tally = new Tally();
  for (const begin of begins) {
    await file.read(begin, target);
    tally.add(target, 0, target.length);
  }
  return tally;
}

await readAll(given.begins.slice(0, WARM_UP_READS));
await mill.evict(path);
const cold = await measure(() => readAll(given.begins.slice(0, given.coldReads)));
await mill.evict(path);
const { result, wallSeconds, cpuSeconds } = await timed(() => mill.prefetch(path).done);
const prefetch = { bytes: result.bytes, failures: result.failures.length, wallSeconds, cpuSeconds };
const warm = await measure(() => readAll(given.begins));
await mill.close();
report({ cold, prefetch: { ...prefetch, gigabytesPerSecond: result.bytes / 1e9 / wallSeconds }, warm });
