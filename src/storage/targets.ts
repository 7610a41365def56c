import { copyBytes } from "../util/copy-bytes.js";

/** Bytes that the targets hold together. */
export function targetBytes(targets: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const target of targets) bytes += target.length;
  return bytes;
}

/** The targets without their first `skip` bytes. */
export function skipTargets(targets: readonly Uint8Array[], skip: number): readonly Uint8Array[] {
  if (skip === 0) return targets;
  const rest: Uint8Array[] = [];
  let left = skip;
  for (const target of targets) {
    if (left < target.length) rest.push(left === 0 ? target : target.subarray(left));
    left = Math.max(0, left - target.length);
  }
  return rest;
}

/** Copies bytes into the targets, in order, from where the last call ended. */
export class TargetWriter {
  readonly #targets: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(targets: readonly Uint8Array[]) {
    this.#targets = targets;
  }

  /** The bytes of `chunk` must fit in what is left. */
  write(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      const target = this.#targets[this.#index]!;
      const count = Math.min(chunk.length - from, target.length - this.#offset);
      copyBytes(target, this.#offset, from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count));
      from += count;
      this.#offset += count;
      if (this.#offset === target.length) {
        this.#index++;
        this.#offset = 0;
      }
    }
  }
}
