/**
 * V8 copies between shared and other memory word by word, so that it stays defined under races: `set` moves 3 GB a CPU second there,
 * and 11 between unshared arrays. `Buffer.fill` with bytes is one memcpy whatever the memory: 12 GB.
 */

/** Below this the call's own cost, some 150 ns, is more than it saves. */
const SMALL = 1024;
/** Below this a loop costs less than the view that any other way of copying needs, some 50 ns. */
const TINY = 32;

/** Copies all of `source` into `target` at `at`. Nobody may write to either meanwhile. Throws RangeError where it does not fit. */
export function copyBytes(target: Uint8Array, at: number, source: Uint8Array): void {
  if (source.length < SMALL) {
    target.set(source, at);
    return;
  }
  checkFit(target, at, source.length);
  Buffer.prototype.fill.call(target, source, at, at + source.length);
}

/** As `copyBytes`, of `source` from `begin` to `end`. */
export function copyRange(target: Uint8Array, at: number, source: Uint8Array, begin: number, end: number): void {
  checkFit(target, at, end - begin);
  if (end - begin > TINY) copyBytes(target, at, source.subarray(begin, end));
  else for (let i = begin; i < end; i++) target[at + i - begin] = source[i]!;
}

function checkFit(target: Uint8Array, at: number, length: number): void {
  if (at + length > target.length) throw new RangeError(`${length} bytes at ${at} do not fit into ${target.length}`);
}

/** Memory of exactly this size, its content whatever was there before: for those who overwrite all of it. Transferable. */
export function uninitializedBuffer(byteLength: number): ArrayBuffer {
  // `new ArrayBuffer` clears it first: 0.15 CPU s/GB.
  return Buffer.allocUnsafeSlow(byteLength).buffer as ArrayBuffer;
}

/** The bytes in memory of their own. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const own = new Uint8Array(uninitializedBuffer(bytes.length));
  copyBytes(own, 0, bytes);
  return own;
}
