import { MessageChannel, type MessagePort } from "node:worker_threads";

/** Any port that is closed: what is transferred to it is freed, as HTML's `postMessage` has it. Node 20 has no `ArrayBuffer.prototype.transfer`. */
let nowhere: MessagePort | undefined;

/** Bytes. Freeing less costs more than its share of a collection. */
const LEAST = 4096;

/**
 * Frees buffers of 4 KiB and more at once; whoever still holds one finds it empty. V8 lets 32 MB of dropped buffers gather in each thread before it collects them,
 * whatever the thread's limits, and their pages and cache lines are cold by then: 110 KB a sample cost 26 µs of CPU, and 6 if freed at once.
 * Nothing native may be at work on them: it would go on in freed memory.
 */
export function freeBuffers(buffers: readonly ArrayBuffer[]): void {
  if (nowhere === undefined) {
    nowhere = new MessageChannel().port1;
    nowhere.close();
  }
  // One that was transferred elsewhere has no length, and could not be transferred again.
  const large = buffers.filter((buffer) => buffer.byteLength >= LEAST);
  try {
    if (large.length > 0) nowhere.postMessage(undefined, large);
  } catch {
    // One of them may not be transferred: then the collector has them all.
  }
}
