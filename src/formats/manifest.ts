/**
 * The ordered list of a dataset's shards and where their records are; it numbers all samples 0 … n−1.
 * Packed on SharedArrayBuffers: a million objects take about 100 bytes each, and every thread reads the same memory.
 */
import { MillraceError } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import { COMPRESSED, KEY_IS_PATH, type ManifestBuffers, type ManifestSource, packManifest, WHOLE } from "./manifest-pack.js";
import { StringReader } from "./packed.js";

export type { ManifestBuffers, ManifestShard, ManifestSource } from "./manifest-pack.js";

export class Manifest {
  readonly format: string;
  readonly sampleCount: number;
  readonly shardCount: number;
  /** Bytes of all records (inflated, where shards are compressed). */
  readonly byteLength: number;
  /** Bytes of all shards as they are stored. */
  readonly storedBytes: number;
  /** Hex sha-256 over format, classes, shard paths, sizes, etags and record counts. Not over the store: a copied dataset may go on. */
  readonly fingerprint: string;
  readonly classes: readonly string[] | undefined;
  readonly #buffers: ManifestBuffers;
  readonly #names: StringReader;
  readonly #keys: StringReader | undefined;
  /** The shard found last: neighbours are mostly asked for together. */
  #last = 0;

  private constructor(buffers: ManifestBuffers) {
    this.format = buffers.format;
    this.sampleCount = buffers.firsts.at(-1)!;
    this.shardCount = buffers.sizes.length;
    this.byteLength = buffers.byteLength;
    this.storedBytes = buffers.storedBytes;
    this.fingerprint = buffers.fingerprint;
    this.classes = buffers.classes;
    this.#buffers = buffers;
    this.#names = new StringReader(buffers.names);
    this.#keys = buffers.keys && new StringReader(buffers.keys);
  }

  static build(source: ManifestSource): Manifest {
    return new Manifest(packManifest(source));
  }

  /** The same manifest in another thread, from what `toShared` gave; no bytes are copied. */
  static fromShared(buffers: ManifestBuffers): Manifest {
    return new Manifest(buffers);
  }

  /** Structured-cloneable: `postMessage` shares the memory and copies only the few short strings. */
  toShared(): ManifestBuffers {
    return this.#buffers;
  }

  get memoryBytes(): number {
    const { names, keys, sizes, modified, flags, roots, firsts, inflated, bases, bounds, ends } = this.#buffers;
    const parts = [
      names.bytes,
      names.offsets,
      keys?.bytes,
      keys?.offsets,
      sizes,
      modified,
      flags,
      roots,
      firsts,
      inflated,
      bases,
      bounds,
      ends,
    ];
    return parts.reduce((sum, part) => sum + (part?.byteLength ?? 0), 0);
  }

  /** The shard that holds a sample of 0 … sampleCount − 1; throws MILLRACE_CONFIG for another number. */
  shardOf(sample: number): number {
    const { firsts } = this.#buffers;
    if (sample >= firsts[this.#last]! && sample < firsts[this.#last + 1]!) return this.#last;
    if (!(sample >= 0 && sample < this.sampleCount))
      throw new MillraceError("MILLRACE_CONFIG", `sample: ${sample} is not one of 0 to ${this.sampleCount - 1}`);
    let low = 0;
    let high = this.shardCount;
    // The last shard that begins at or before the sample; shards without records begin where the next one does and are passed over.
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (firsts[middle]! <= sample) low = middle;
      else high = middle;
    }
    this.#last = low;
    return low;
  }

  /** The object of a shard, as its store named it when the dataset was opened. */
  shard(i: number): StoredObject & { readonly uri: string } {
    const { sizes, modified } = this.#buffers;
    const time = modified[i]!;
    const path = this.path(i);
    return {
      path,
      uri: `${this.root(i)}/${path}`,
      size: sizes[i]!,
      etag: this.#names.at(2 * i + 1),
      lastModified: Number.isNaN(time) ? undefined : new Date(time),
    };
  }

  path(i: number): string {
    return this.#names.at(2 * i);
  }

  /** The URI of the store that holds a shard. */
  root(i: number): string {
    const { rootNames, roots } = this.#buffers;
    return rootNames[roots === undefined ? 0 : roots[i]!]!;
  }

  /** The first sample of a shard; of `shardCount`, the number of all samples. */
  shardFirst(i: number): number {
    return this.#buffers.firsts[i]!;
  }

  /** First byte of a sample's record, in the inflated bytes where its shard is compressed. */
  recordBegin(sample: number): number {
    const shard = this.shardOf(sample);
    const { flags, firsts, bases, bounds } = this.#buffers;
    return flags[shard]! & WHOLE ? 0 : bounds[bases![shard]! + sample - firsts[shard]!]!;
  }

  /** End (exclusive) of a sample's record. */
  recordEnd(sample: number): number {
    const shard = this.shardOf(sample);
    const { flags, firsts, bases, bounds, ends } = this.#buffers;
    if (flags[shard]! & WHOLE) return this.inflatedSize(shard);
    const slot = bases![shard]! + sample - firsts[shard]!;
    return ends === undefined ? bounds[slot + 1]! : ends[slot]!;
  }

  /** The key its format gives the sample; else the shard's path for whole objects, else `path#ordinal`. */
  key(sample: number): string {
    const key = this.#keys?.at(sample) ?? "";
    if (key !== "") return key;
    const shard = this.shardOf(sample);
    const path = this.path(shard);
    return this.#buffers.flags[shard]! & KEY_IS_PATH ? path : `${path}#${sample - this.#buffers.firsts[shard]!}`;
  }

  /** True where the shard must be read whole and inflated before its records can be read. */
  compressed(i: number): boolean {
    return (this.#buffers.flags[i]! & COMPRESSED) !== 0;
  }

  /** Bytes of the shard once inflated; of one that is not compressed, its size. */
  inflatedSize(i: number): number {
    return this.compressed(i) ? this.#buffers.inflated![i]! : this.#buffers.sizes[i]!;
  }
}
