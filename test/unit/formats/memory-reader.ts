import type { ShardReader } from "../../../src/formats/format.js";

export interface MemoryReader extends ShardReader {
  /** Every read made, [begin, end). */
  readonly reads: (readonly [number, number])[];
}

/** A shard in memory whose reads are counted, and whose views are wiped at the next read, as the contract allows. */
export function memoryReader(
  bytes: Uint8Array,
  options: Partial<Pick<ShardReader, "path" | "signal" | "maxRecordBytes" | "onError">> & {
    sidecars?: Readonly<Record<string, string>>;
  } = {},
): MemoryReader {
  const { path = "train/a.tfrecord", sidecars = {}, signal, maxRecordBytes = 2 ** 30, onError = "throw" } = options;
  const reads: (readonly [number, number])[] = [];
  let last: Uint8Array | undefined;
  return {
    path,
    uri: `memory://bucket/${path}`,
    size: bytes.length,
    signal,
    maxRecordBytes,
    onError,
    reads,
    async read(begin, end) {
      last?.fill(0xee);
      reads.push([begin, Math.min(end, bytes.length)]);
      const view = new Uint8Array(new SharedArrayBuffer(Math.max(0, Math.min(end, bytes.length) - begin)));
      view.set(bytes.subarray(begin, end));
      last = view;
      return view;
    },
    async sidecar(name) {
      const text = sidecars[name];
      return text === undefined ? undefined : Buffer.from(text);
    },
  };
}

/** Bytes that the reads asked for. */
export function bytesRead(reader: MemoryReader): number {
  return reader.reads.reduce((sum, [begin, end]) => sum + end - begin, 0);
}

/** The error a promise or a function ends with; fails where it does not. */
export async function failure(run: () => unknown): Promise<{ code: string; message: string; name: string }> {
  try {
    await run();
  } catch (error) {
    return error as { code: string; message: string; name: string };
  }
  throw new Error("it did not fail");
}

export function text(value: unknown): string {
  return Buffer.from(value as Uint8Array).toString("utf8");
}
