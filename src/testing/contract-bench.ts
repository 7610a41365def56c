import assert from "node:assert/strict";
import type { MillraceErrorCode } from "../errors.js";
import type { Store } from "../storage/store.js";

/** How the contract gets at a store. */
export interface StoreHarness {
  /** Opens the store under test: called once, by the first case that runs. The last case closes it. */
  readonly open: () => Store | Promise<Store>;
  /** Names of this run begin so: nothing else may be below it. Default `contract/`. */
  readonly prefix?: string | undefined;
  /** Puts an object where the store cannot write, or in a faster way. Default: `store.write`. */
  readonly put?: ((path: string, bytes: Uint8Array) => Promise<void>) | undefined;
  /** The path of a plain name, where the two differ (http: percent-encoded). */
  readonly pathOf?: ((name: string) => string) | undefined;
  /** False for a store that cannot be listed. Default true. */
  readonly lists?: boolean | undefined;
  /** False for a store that cannot write. Default true. */
  readonly writes?: boolean | undefined;
  /** False for a store that writes and cannot remove. Default true. */
  readonly removes?: boolean | undefined;
  /** Names that this store cannot hold. */
  readonly unsupportedNames?: readonly string[] | undefined;
}

/** A case as it is written: given the store. */
export interface StoreCase {
  readonly name: string;
  run(store: Store): Promise<void>;
}

/** The harness with its defaults, and what the cases share. */
export class Bench {
  readonly harness: StoreHarness;
  #store: Store | undefined;

  constructor(harness: StoreHarness) {
    this.harness = harness;
  }

  async open(): Promise<Store> {
    this.#store ??= await this.harness.open();
    return this.#store;
  }

  get store(): Store {
    return this.#store!;
  }

  /** The path of a name of this run. */
  path(name: string): string {
    const plain = `${this.harness.prefix ?? "contract/"}${name}`;
    return this.harness.pathOf?.(plain) ?? plain;
  }

  async put(name: string, bytes: Uint8Array): Promise<string> {
    const path = this.path(name);
    if (this.harness.put !== undefined) await this.harness.put(path, bytes);
    else await this.store.write!(path, once(bytes));
    return path;
  }

  /** The bytes from `begin` to `end` of the version that is there now. */
  async read(path: string, begin = 0, end?: number): Promise<Uint8Array> {
    const object = await this.store.stat(path);
    const target = new Uint8Array((end ?? object.size) - begin);
    await this.store.readInto(object, begin, [target]);
    return target;
  }
}

/** Matches a MillraceError of this code; by name, because two copies of the library may meet in a test. */
export function failsWith(code: MillraceErrorCode): (error: unknown) => boolean {
  return (error) => (error as { code?: unknown }).code === code && (error as Error).name === "MillraceError";
}

/** As deepEqual, but in a moment and without printing megabytes. */
export function assertBytes(actual: Uint8Array, expected: Uint8Array, what = ""): void {
  assert.equal(actual.length, expected.length, what);
  const at = Buffer.from(actual.buffer, actual.byteOffset, actual.length).equals(expected)
    ? -1
    : actual.findIndex((b, i) => b !== expected[i]);
  assert.equal(at, -1, `${what} differs at byte ${at}`);
}

/** `length` bytes that no shift or mix-up leaves equal. */
export function drawnBytes(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed * 0x9e3779b1;
  for (let i = 0; i < length; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + i;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export async function* once(...parts: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* parts;
}
