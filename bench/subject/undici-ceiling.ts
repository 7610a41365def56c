/**
 * The ceiling: what cannot be left out, written by hand for this one case. 8 MiB ranges by undici's dispatch into memory
 * allocated once, several in flight, the checksums of each record, one copy into the memory of a fresh batch. It knows the
 * shards' sizes and the samples' length beforehand, reads in order, and has neither cache, retry nor cancel.
 */
import { crc32c } from "@node-rs/crc32";
import { type Dispatcher, Pool } from "undici";
import { measure, parameters, type Read, report, Tally } from "../lib/subject.js";

const RANGE_BYTES = 8 * 2 ** 20;
const IN_FLIGHT = 8;
const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;

interface Shard {
  path: string;
  bytes: number;
}
const given = parameters<{ endpoint: string; batchSize: number; sampleBytes: number; shards: Shard[]; warmUp: Shard[] }>();
const pool = new Pool(given.endpoint, { connections: IN_FLIGHT, pipelining: 1 });

function fetchRange(path: string, target: Buffer, begin: number, end: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = begin;
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart() {},
      onResponseStart(_controller, status) {
        if (status !== 206) throw new Error(`status ${status}`);
      },
      onResponseData(_controller, chunk) {
        target.set(chunk, at);
        at += chunk.length;
      },
      onResponseEnd() {
        if (at === end) resolve();
        else reject(new Error("the body is short"));
      },
      onResponseError(_controller, error) {
        reject(error);
      },
    };
    pool.dispatch({ path, method: "GET", headers: { range: `bytes=${begin}-${end - 1}` } }, handler);
  });
}

const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

class Batches {
  readonly tally: Tally = new Tally();
  #batch = Buffer.alloc(0);
  #row = given.batchSize;

  /** Checks the record at `begin` and copies its payload into the batch. Returns the record's end. */
  take(shard: Buffer, begin: number): number {
    const length = shard.readUInt32LE(begin);
    const data = begin + HEADER_BYTES;
    const end = data + length;
    if (masked(crc32c(shard.subarray(begin, begin + 8))) !== shard.readUInt32LE(begin + 8)) throw new Error("length checksum");
    if (masked(crc32c(shard.subarray(data, end))) !== shard.readUInt32LE(end)) throw new Error("data checksum");
    if (this.#row === given.batchSize) {
      // As the library does by default: each batch is memory of its own, which the loop may keep.
      this.#batch = Buffer.allocUnsafeSlow(given.batchSize * given.sampleBytes);
      this.#row = 0;
    }
    const at = this.#row++ * given.sampleBytes;
    shard.copy(this.#batch, at, data, end);
    this.tally.add(this.#batch, at, at + length);
    return end + FOOTER_BYTES;
  }
}

/** The ranges of all shards, in order; the shards take turns with the memory. */
function* ranges(shards: readonly Shard[], memory: readonly Buffer[]) {
  for (const [i, shard] of shards.entries())
    for (let begin = 0; begin < shard.bytes; begin += RANGE_BYTES)
      yield { shard, target: memory[i % memory.length]!, begin, end: Math.min(shard.bytes, begin + RANGE_BYTES) };
}

async function readAll(shards: readonly Shard[], memory: readonly Buffer[]): Promise<Read> {
  const batches = new Batches();
  const source = ranges(shards, memory);
  const pending: { target: Buffer; begin: number; end: number; done: Promise<void> }[] = [];
  const start = (): void => {
    const next = source.next();
    if (next.done) return;
    const { shard, target, begin, end } = next.value;
    pending.push({ target, begin, end, done: fetchRange(shard.path, target, begin, end) });
  };
  for (let i = 0; i < IN_FLIGHT; i++) start();
  let at = 0;
  for (let head = pending.shift(); head !== undefined; head = pending.shift()) {
    await head.done;
    if (head.begin === 0) at = 0;
    start();
    while (at + HEADER_BYTES <= head.end) {
      const end = at + HEADER_BYTES + head.target.readUInt32LE(at) + FOOTER_BYTES;
      if (end > head.end) break;
      at = batches.take(head.target, at);
    }
  }
  return batches.tally;
}

const sizes = [...given.shards, ...given.warmUp].map(({ bytes }) => bytes);
/** Ranges in flight lie in this many shards at the most; one more is being copied from. */
const shardsAtOnce = Math.ceil(IN_FLIGHT / Math.ceil(Math.min(...sizes) / RANGE_BYTES)) + 2;
const memory = Array.from({ length: shardsAtOnce }, () => Buffer.alloc(Math.max(...sizes), 1));
await readAll(given.warmUp, memory);
report({ cold: await measure(() => readAll(given.shards, memory)) });
await pool.close();
