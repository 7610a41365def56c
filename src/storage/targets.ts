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

/** Fills the targets, in order, from where the last call ended. */
export class TargetWriter {
  readonly #targets: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(targets: readonly Uint8Array[]) {
    this.#targets = targets;
  }

  /** Copies `chunk`, which must fit in what is left. */
  write(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      const space = this.space();
      const count = Math.min(chunk.length - from, space.length);
      copyBytes(space, 0, from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count));
      from += count;
      this.advance(count);
    }
  }

  /** What is left of the target at hand, for someone else to write to. Only where something is left. */
  space(): Uint8Array {
    while (this.#offset === this.#targets[this.#index]!.length) {
      this.#index++;
      this.#offset = 0;
    }
    const target = this.#targets[this.#index]!;
    return this.#offset === 0 ? target : target.subarray(this.#offset);
  }

  /** The first `count` bytes of `space()` are written. */
  advance(count: number): void {
    this.#offset += count;
  }
}
