/**
 * The public types, in one place: what a caller of Millrace sees, and nothing else.
 * A column's kind follows from the declared field, never from values.
 */

// ── fields and columns ──────────────────────────────────────────────────────

/** The typed array that holds values of each dtype. */
export interface TypedArrays {
  uint8: Uint8Array<ArrayBuffer>;
  int8: Int8Array<ArrayBuffer>;
  uint16: Uint16Array<ArrayBuffer>;
  int16: Int16Array<ArrayBuffer>;
  uint32: Uint32Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  float32: Float32Array<ArrayBuffer>;
  float64: Float64Array<ArrayBuffer>;
  int64: BigInt64Array<ArrayBuffer>;
  uint64: BigUint64Array<ArrayBuffer>;
}
export type DType = keyof TypedArrays;

/** A field with a shape. A `null` dimension is ragged, or padded with `pad` to the longest of the batch. */
export interface TensorSpec {
  dtype: DType;
  /** Dimensions of one sample; `[]` or left out is a scalar. */
  shape?: readonly (number | null)[] | undefined;
  /** Fill value; turns a ragged field into a tensor with `lengths`. */
  pad?: number | undefined;
  /** A sample without this field gets zeros (or an empty row) instead of an error. */
  optional?: true | undefined;
}
/** A bare dtype is a scalar of it. */
export type FieldSpec = DType | "bytes" | "utf8" | "json" | TensorSpec;
export type Fields = Record<string, FieldSpec>;

export interface TensorColumn<D extends DType = DType> {
  readonly kind: "tensor";
  readonly dtype: D;
  /** `[rows, ...sample shape]`. */
  readonly shape: readonly number[];
  readonly data: TypedArrays[D];
  /** For padded fields: the unpadded length of each row. */
  readonly lengths?: Int32Array | undefined;
}
export interface RaggedColumn<D extends DType = DType> {
  readonly kind: "ragged";
  readonly dtype: D;
  readonly values: TypedArrays[D];
  /** `rows + 1` element offsets into `values`. */
  readonly offsets: Float64Array;
  at(row: number): TypedArrays[D];
}
export interface BytesColumn {
  readonly kind: "bytes";
  /** All rows, one after the other. Its `buffer` may be longer than they are. */
  readonly values: Uint8Array<ArrayBuffer>;
  /** `rows + 1` byte offsets into `values`. */
  readonly offsets: Float64Array;
  at(row: number): Uint8Array<ArrayBuffer>;
}
export interface ValuesColumn<V> {
  readonly kind: "values";
  readonly values: readonly V[];
  at(row: number): V;
}
export type Column = TensorColumn | RaggedColumn | BytesColumn | ValuesColumn<unknown>;

type HasOpen<S> = S extends readonly (infer E)[] ? (null extends E ? true : false) : false;
/** The column a field becomes in a batch. */
export type ColumnOf<F> = F extends "bytes"
  ? BytesColumn
  : F extends "utf8"
    ? ValuesColumn<string>
    : F extends "json"
      ? ValuesColumn<unknown>
      : F extends DType
        ? TensorColumn<F>
        : F extends { dtype: infer D extends DType; pad: number }
          ? TensorColumn<D>
          : F extends { dtype: infer D extends DType; shape?: infer S }
            ? HasOpen<S> extends true
              ? RaggedColumn<D>
              : TensorColumn<D>
            : never;
/** The value a field has in one sample. */
export type ValueOf<F> = F extends "bytes"
  ? Uint8Array<ArrayBuffer>
  : F extends "utf8"
    ? string
    : F extends "json"
      ? unknown
      : F extends "int64" | "uint64"
        ? bigint
        : F extends DType
          ? number
          : F extends { dtype: infer D extends DType }
            ? TypedArrays[D]
            : never;
export type SampleOf<F> = { [K in keyof F]: ValueOf<F[K]> };

// ── decoding, in workers, a whole batch at a time ───────────────────────────

export interface SampleContext<A = undefined> {
  readonly key: string;
  /** The sample's number in the dataset that made the loader. */
  readonly index: number;
  readonly epoch: number;
  readonly args: A;
  /** Fires when the loader is closed or the sample's time is up. */
  readonly signal: AbortSignal;
  /** Uniform in [0, 1): a function of (seed, epoch, index) and of how often it was called for this sample, and of nothing else. */
  random(): number;
}
/** What `defineDecoder` returns: a module's default export, found again by its URL in every worker. */
export interface Decoder<I, F, A = undefined> {
  readonly url: string;
  readonly output: F;
  readonly run: (sample: I, context: SampleContext<A>) => unknown;
  /** A sample's memory may be freed as soon as it is decoded. */
  readonly keepsNothing: boolean;
}

// ── batches, epochs, loader, dataset ────────────────────────────────────────

/** Where a run stands: what the loop has received, global and rank-free, so any rank's state resumes any worldSize. Plain JSON. */
export interface LoaderState {
  readonly version: 1;
  /** Of the dataset: shards, sizes, etags, selection. */
  readonly fingerprint: string;
  /** Of the order: seed, mode, lanes, chunk and window sizes. */
  readonly order: string;
  readonly epoch: number;
  /** Samples of the epoch's global order that are used up. */
  readonly position: number;
}
export interface Batch<F> {
  readonly epoch: number;
  readonly step: number;
  /** Real rows. */
  readonly size: number;
  /** Rows after the real ones that repeat other samples, so that all ranks have equal steps (`remainder: "pad"`). */
  readonly padding: number;
  /** Of all rows of the columns, padding rows too: as many as `size + padding`. */
  readonly keys: readonly string[];
  /** The samples' numbers in the dataset that made the loader; rows as in `keys`. */
  readonly indices: Float64Array;
  /** By field; the first dimension of each is the rows. */
  readonly columns: { readonly [K in keyof F]: ColumnOf<F[K]> };
  /** Where the run stands once this batch is used. */
  readonly state: LoaderState;
  /** The real rows, one object a sample. */
  samples(): Iterable<SampleOf<F>>;
  /** With `recycle`: gives the batch's memory back for a later batch. Without: does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}
export interface Epoch<F> extends AsyncIterable<Batch<F>> {
  readonly number: number;
  /** Steps of the whole epoch for this rank. */
  readonly steps: number;
  /** The step iteration begins with: 0, or where the resumed state stood. */
  readonly firstStep: number;
}
export interface ShuffleOptions {
  /** An integer. The same seed, epoch, dataset and options give the same order. */
  seed: number;
  /** `"window"` (default): chunks in random order, samples mixed within windows; `"global"`: uniform over all samples, for cached or small data. */
  mode?: "window" | "global" | undefined;
  /** Memory of all windows together, bytes or `"512MiB"`. Default 512 MiB. */
  window?: string | number | undefined;
}
export interface LoaderOptions {
  /** Samples a batch, per rank. */
  batchSize: number;
  /** Default false: manifest order. */
  shuffle?: false | ShuffleOptions | undefined;
  /** This process's number; `"env"` reads RANK, OMPI_COMM_WORLD_RANK, SLURM_PROCID or PMI_RANK. Default 0. */
  rank?: number | "env" | undefined;
  /** How many processes share the epoch; `"env"` reads WORLD_SIZE, OMPI_COMM_WORLD_SIZE, SLURM_NTASKS or PMI_SIZE. Default 1. */
  worldSize?: number | "env" | undefined;
  /** Streams that the order is cut into. Default 24. Part of the order: keep it when resuming. */
  lanes?: number | undefined;
  /** Samples left over at the end: `"drop"` them, `"pad"` with repeats, or `"keep"` a short batch (ranks may then differ by one step). Default `"keep"` for one process, `"drop"` for more. */
  remainder?: "drop" | "pad" | "keep" | undefined;
  /** A state to go on from. `MILLRACE_RESUME` where it is of another dataset, selection or order. */
  resume?: LoaderState | undefined;
  /** Ends each epoch after this many steps. */
  stepsPerEpoch?: number | undefined;
  /** What a record that is corrupt or fails to decode does. Default `"throw"`. */
  onError?: "throw" | "skip" | undefined;
  /** Decode worker threads; `"auto"` (default) is one less than the CPUs, from 1 to 16, with a decoder, else 0. 0 decodes on the engine thread. */
  workers?: number | "auto" | undefined;
  /** Longest time one sample may decode, milliseconds or `"60s"`. Default 60 s. */
  decodeTimeout?: string | number | undefined;
  /**
   * Bytes fetched ahead of the loop, beyond the open windows. `"auto"` (default) begins with what the windows that open next take (a quarter of
   * `shuffle.window` at least, and 64 MiB), doubles when the loop waits for bytes that the depth held back, and halves, to 16 MiB at least, when
   * other loaders want their share or the process is near its memory limit. All loaders of a mill share one budget for it: an eighth of the memory
   * limit, 64 MiB to 512 MiB. `loader.stats().readAhead.reason` says what it chose and why. A size is kept to whatever happens.
   */
  readAhead?: "auto" | string | number | undefined;
  /** Reuse batch memory given back by `batch.release()`. Default false: every batch is fresh memory. */
  recycle?: boolean | undefined;
  /** Ends every iteration of the loader with `MILLRACE_ABORTED`. */
  signal?: AbortSignal | undefined;
}
export interface Loader<F> {
  /** Steps of a whole epoch, for this rank. */
  readonly stepsPerEpoch: number;
  /** The batch that comes next. */
  readonly position: { readonly epoch: number; readonly step: number };
  /** Epoch `n`, from its start. After a resume the first epoch asked for must be the state's. Throws `MILLRACE_RESUME` otherwise. */
  epoch(n: number, options?: { signal?: AbortSignal | undefined }): Epoch<F>;
  /** Epochs from where the loader stands, up to but without `until`. */
  epochs(until: number): Iterable<Epoch<F>>;
  /** Where the run stands after the last batch that the loop was given. */
  state(): LoaderState;
  /** Totals since the loader was made. */
  stats(): LoaderStats;
  /** Ends iterations with `MILLRACE_CLOSED`, and the decode workers. Calling it again does no harm. */
  close(): Promise<void>;
}
export interface LoaderStats {
  /** Time the loop waited for batches ÷ wall time since the first wait. */
  readonly stallRatio: number;
  readonly batches: number;
  /** Real rows of these batches. */
  readonly samples: number;
  /** Rows left out under `onError: "skip"`. */
  readonly skipped: number;
  /** Bytes delivered to this loader by tier. */
  readonly bytes: Readonly<Record<"memory" | "disk" | "peer" | "origin", number>>;
  readonly originRequests: number;
  readonly waitMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly readAhead: {
    /** Bytes that may be fetched ahead of the loop. */
    readonly depthBytes: number;
    /** Pieces of shards being fetched, those that the loop waits for included. */
    readonly inFlight: number;
    /** Text for people: why the depth is what it is, and the pace of the first shard's origin where it has one. */
    readonly reason: string;
  };
}
/** A dataset, or a selection of one. Iterating gives its samples in manifest order. */
export interface Dataset<F> extends AsyncIterable<SampleOf<F>> {
  readonly fields: F;
  readonly sampleCount: number;
  /** Bytes of its records. */
  readonly byteLength: number;
  /** Of the whole dataset. */
  readonly shardCount: number;
  /** Of its shards, sizes and etags, and the selection: what a state is tied to. */
  readonly fingerprint: string;
  /** For `files`: folder names in label order. */
  readonly classes: readonly string[] | undefined;
  /** One sample by its number. Throws `MILLRACE_CONFIG` where there is none. */
  get(index: number, options?: { signal?: AbortSignal | undefined }): Promise<SampleOf<F>>;
  /** A sample's key; no I/O. */
  key(index: number): string;
  /** The first `count` samples. Throws `MILLRACE_CONFIG` where there are fewer. */
  take(count: number): Dataset<F>;
  /** These samples in this order, or a range (`to` exclusive). */
  select(rows: readonly number[] | { from: number; to: number }): Dataset<F>;
  /** Disjoint parts by shares that sum to 1 at most, of samples (default) or of whole shards; the same for the same seed. */
  split<const P extends Record<string, number>>(
    parts: P,
    options: { seed: number; by?: "sample" | "shard" | undefined },
  ): { [K in keyof P]: Dataset<F> };
  /** Batches of it, decoded by `decode` where that is given. Reads nothing yet. Throws `MILLRACE_CONFIG`, `MILLRACE_RESUME`. */
  loader(options: LoaderOptions): Loader<F>;
  loader<G, A>(
    options: LoaderOptions & { decode: Decoder<SampleOf<F>, G, A> } & (A extends undefined
        ? { decodeArgs?: undefined }
        : { decodeArgs: A }),
  ): Loader<G>;
}

// ── the mill ────────────────────────────────────────────────────────────────

/** Code that runs in the engine thread comes as a module: functions do not cross threads. */
export interface ModuleRef {
  /** Absolute: `new URL("./store.js", import.meta.url)`. */
  url: string | URL;
  /** Default `"default"`. */
  export?: string | undefined;
  /** Handed to the export; anything that can be cloned. */
  args?: unknown;
}
export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  expiration?: Date | undefined;
}
export interface S3Options {
  /** `https://host:port` of a server other than AWS. Default: as the AWS SDK finds it (environment, profile). */
  endpoint?: string | undefined;
  /** Default: as the AWS SDK finds it; `us-east-1` for a server other than AWS. */
  region?: string | undefined;
  /** The bucket in the path rather than in the host name. Default false. */
  forcePathStyle?: boolean | undefined;
  /** Send unsigned requests. Default false. */
  anonymous?: boolean | undefined;
  /** Default: the AWS credential chain. A function stays on the calling thread and is asked again 5 minutes before expiry. */
  credentials?: S3Credentials | (() => Promise<S3Credentials>) | undefined;
}
export interface MountOptions {
  /** Bucket, host or folder, with a prefix if need be: `s3://bucket/imagenet`. */
  uri: string;
  /** Writes throw `MILLRACE_PERMISSION`. Default false. */
  readOnly?: boolean | undefined;
  /** `"pin"` (default): never evict what an epoch still needs, stream the rest. `"lru"`: least recently used goes first. */
  admission?: "pin" | "lru" | undefined;
  /** Largest part of the cache that this mount may hold, 0 to 1. Default 1. */
  share?: number | undefined;
  /** Instead of the mill's. */
  s3?: S3Options | undefined;
}
export type Mount = string | MountOptions;
export interface DiskCacheOptions {
  /** A directory, made if need be; several processes may share it. */
  path: string;
  /** Bytes or `"400GiB"`, headers and rounding included. */
  capacity: string | number;
  /** For `lru` data: eviction starts above this part of the capacity. Default 0.95. */
  highWatermark?: number | undefined;
  /** For `lru` data: eviction stops below this part of the capacity. Default 0.85. */
  lowWatermark?: number | undefined;
}
export interface CacheOptions {
  /** Memory tier, bytes or `"4GiB"`; 0 for none. Default: a quarter of the cgroup's memory limit. */
  memory?: string | number | undefined;
  /** Directories of the disk tier. Default none. */
  disk?: readonly DiskCacheOptions[] | undefined;
  /** Unit of caching: a power of two from 64 KiB to 64 MiB. Default 1 MiB. */
  blockSize?: string | number | undefined;
  /** Facts of objects, listings and indexes: how long facts are believed (default 10 minutes), and the memory for all (default 256 MiB). */
  metadata?: { ttl?: string | number | undefined; memory?: string | number | undefined } | undefined;
}
export interface LimitOptions {
  /** Bytes a second from all origins together. Default: no limit. */
  bandwidth?: string | number | undefined;
  /** To all origins together. Default: no limit. */
  requestsPerSecond?: number | undefined;
  /** Requests in flight at most, hedges not counted; how many there are is found by measuring. Default 64. */
  concurrency?: number | undefined;
  /** Reads that may be sent a second time because their answer is late, as a part of all reads; 0 for none. Default 0.05. */
  hedge?: number | undefined;
  /** Longer records are refused as corrupt. Default 1 GiB. */
  maxRecordBytes?: string | number | undefined;
}
/** One cache from several nodes: what one of them holds, all can use (docs/peers.md). */
export interface PeerOptions {
  /**
   * Where this node answers its peers: `host:port`, `[IPv6]:port` or `:port`. Beyond loopback it takes a `secret` or `tls`. Without it this
   * process asks and is not asked: it owns nothing, and nobody hears of it.
   */
  listen?: string | undefined;
  /**
   * Where `/healthz` and `/readyz` are answered without TLS, and nothing else: `host:port`, `[IPv6]:port` or `:port`. Default: only at `listen`,
   * where `tls` keeps out probes that have no certificate.
   */
  health?: string | undefined;
  /** The host, or `host:port`, by which the others reach it. Default: where it listens; of all addresses, the first that is not loopback. */
  advertise?: string | undefined;
  /** The same on every peer: requests and answers are signed with it. */
  secret?: string | undefined;
  /** Certificates on both sides, in PEM: its own, and the authority that has signed those of all peers. */
  tls?: { key: string | Buffer; cert: string | Buffer; ca: string | Buffer; servername?: string | undefined } | undefined;
  /** Where the others are found, by one or several of: `host:port,host:port`, `dns://name:port`, `redis://host:port`, `file:/path/members.json`. */
  discover: string | readonly string[];
  /** What the others, and schedulers, are told of this node; `node` is the name that Kubernetes knows it by. */
  labels?: Record<string, string | undefined> | undefined;
  /** Its share of the data, beside the others'. Default 1; 0: it holds nothing for others. */
  weight?: number | undefined;
  /** How long a silent peer is waited for before the next in order is asked. Default: what the origin takes, 1.2 to 1.5 s. */
  timeout?: string | number | undefined;
  /**
   * Hold copies of what other nodes own, where there is room that nothing else takes: they are the first to go. Default false: one copy in all.
   */
  copies?: boolean | undefined;
}
export interface MillraceOptions {
  /** Stores by path prefix, such as `/imagenet`; the longest prefix wins. */
  mounts?: Record<string, Mount> | undefined;
  /** For every s3 mount and URI that has no `s3` of its own. */
  s3?: S3Options | undefined;
  /** Own stores by URI scheme. */
  stores?: Record<string, ModuleRef> | undefined;
  cache?: CacheOptions | undefined;
  /** Default: none; each node reads the origin by itself. */
  peers?: PeerOptions | undefined;
  limits?: LimitOptions | undefined;
  /**
   * `"worker"` (default) keeps all I/O off the calling thread; `"inline"` runs the same code in it. `ioThreads`, from 1 to 64, spreads the
   * connections of a worker's reads over as many threads of their own; 1 leaves them to the engine's. `"auto"` (as with `"worker"`): a quarter
   * of the CPUs, from 1 (below 8 CPUs) to 8.
   */
  engine?: "worker" | "inline" | { ioThreads: number | "auto" } | undefined;
  /** Default: nothing is logged. */
  logger?: Logger | undefined;
}
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
/** Work done against the work known of so far. */
export interface Progress {
  readonly bytes: number;
  readonly totalBytes: number;
  readonly objects: number;
  readonly totalObjects: number;
  readonly bytesPerSecond: number;
  readonly etaSeconds: number;
}
export interface Watch {
  /** Ends the call with `MILLRACE_ABORTED`. */
  signal?: AbortSignal | undefined;
  /** At most every 100 ms, and at the end. What it throws ends the call with `MILLRACE_CONFIG`; an async one is not waited for, and ends it by a rejection. */
  onProgress?: ((progress: Progress) => void) | undefined;
}
export interface DatasetOptions<F extends Fields> extends Watch {
  /** `"tfrecord"`, `"webdataset"` or `"files"`; inferred from the names when left out. */
  format?: string | undefined;
  /** Default: what the format says of itself (docs/semantics.md). */
  fields?: F | undefined;
  /** For `files`: folder names in label order. Default: sorted. */
  classes?: readonly string[] | undefined;
  /** What a shard with a bad tail does when it is indexed. Default `"throw"`. */
  onError?: "throw" | "skip" | undefined;
}
export interface ObjectInfo {
  /** As a caller writes it: below the mount, or a URI. */
  readonly path: string;
  readonly size: number;
  readonly etag: string;
  readonly lastModified: Date | undefined;
}
/** One version of an object: once it has changed, reads throw `MILLRACE_CHANGED`. */
export interface OpenFile {
  readonly info: ObjectInfo;
  /** Fills `target` with the bytes from `begin`. */
  read(begin: number, target: Uint8Array, options?: { signal?: AbortSignal | undefined }): Promise<void>;
}
export interface LocalCopy extends AsyncDisposable {
  readonly path: string;
  /** The copy is removed when the last who took it has released it. */
  release(): Promise<void>;
}
export interface PrefetchReport {
  readonly objects: number;
  /** Bytes that were fetched. */
  readonly bytes: number;
  /** Bytes that were in the cache before. */
  readonly alreadyCached: number;
  readonly failures: readonly { readonly path: string; readonly code: string; readonly message: string }[];
}
export interface PrefetchJob {
  readonly progress: Progress;
  /** Rejects only on cancel; what failed is in the report. */
  readonly done: Promise<PrefetchReport>;
  /** Starts nothing more until `resume`; what is under way goes on. */
  pause(): void;
  resume(): void;
  /** `done` rejects with `MILLRACE_ABORTED`. */
  cancel(): void;
}
export interface PrefetchOptions extends Watch {
  /** Among prefetches, higher goes first. Default 0. Never before a loop's own reads. */
  priority?: number | undefined;
  /**
   * Where nodes share a cache (`peers`): `"process"` (default) loads here what this node owns of it, `"cluster"` has every node load what it owns,
   * with one progress and one report for all. Without peers both load all of it here.
   */
  scope?: "process" | "cluster" | undefined;
}
/** How much of a prefix's data one node holds, in memory and on disks. */
export interface NodeShare {
  /** The node's id; without `peers`, the host's name. */
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly bytes: number;
  /** Of all bytes below the prefix, 0 to 1. */
  readonly share: number;
}
/** A node that shares the cache, or one that was found and does not. */
export interface PeerInfo {
  /** Undefined where it is not known who answers there. */
  readonly id: string | undefined;
  /** Undefined for a process that only asks. */
  readonly url: string | undefined;
  readonly weight: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** `"broken"`: a member that is left alone for a while, after failures. `"stranger"`: it was found, and is not asked. */
  readonly state: "self" | "member" | "broken" | "stranger";
  /** Why it is broken or a stranger; text for people. */
  readonly reason: string | undefined;
}
/** Element types, as safetensors spells them. */
export type TensorDtype =
  | "BOOL"
  | "F4"
  | "F6_E2M3"
  | "F6_E3M2"
  | "U8"
  | "I8"
  | "F8_E5M2"
  | "F8_E4M3"
  | "F8_E8M0"
  | "F8_E4M3FNUZ"
  | "F8_E5M2FNUZ"
  | "I16"
  | "U16"
  | "F16"
  | "BF16"
  | "I32"
  | "U32"
  | "F32"
  | "C64"
  | "F64"
  | "I64"
  | "U64";
/** Tensors to save: a list, what makes them one after the other, or a `Map` such as `load()` gives. */
export type NamedTensors = Iterable<NamedTensor> | AsyncIterable<NamedTensor> | ReadonlyMap<string, NamedTensor>;
/** A tensor to save, or one that was loaded. */
export interface NamedTensor {
  name: string;
  dtype: TensorDtype;
  shape: readonly number[];
  /**
   * Its values, row by row, in the typed array of the dtype (F16 and BF16: their bits in a `Uint16Array`; C64: a `Float32Array`), or its bytes,
   * little-endian, as `Uint8Array` or `DataView`.
   */
  data: ArrayBufferView;
}
export interface SaveOptions extends Watch {
  /**
   * `"through"` (default): resolves when the origin has the checkpoint, and the cache what it has room for. `"back"`: when it is on the disk of a cache
   * directory, from where it is uploaded in the background, by the next mill if need be; where that disk cannot take it, as `"through"`.
   */
  write?: "through" | "back" | undefined;
  /** `__metadata__` of the file, or of each shard. */
  metadata?: Record<string, string> | undefined;
  /**
   * Checkpoints that stay, this one included, of its series: those in the same folder whose names differ in their last number only. Older ones
   * are removed when this one is whole. Default: all stay.
   */
  keep?: number | undefined;
  /** Tensors of at most so many bytes go into one file, of several with an index; bytes or `"5GB"`. Default: one file. */
  maxShardBytes?: string | number | undefined;
}
/** What a run needs to go on. */
export interface TrainingRun {
  /** Weights, and what the optimizer keeps. */
  tensors: NamedTensors;
  /** `batch.state` of the last batch that was trained on. */
  loader?: LoaderState | undefined;
  /** Anything that JSON can say; what it cannot (typed arrays, `Map`, `Set`, functions) is refused, by its path. */
  extra?: unknown;
}
export type TrainingStateOptions = Omit<SaveOptions, "metadata" | "maxShardBytes">;
export interface TrainingState {
  readonly checkpoint: Checkpoint;
  /** For the loader's `resume`; undefined where none was saved. */
  readonly loader: LoaderState | undefined;
  /** Undefined where none was saved. */
  readonly extra: unknown;
  /** Newer states that are damaged, the newest first. */
  readonly skipped: readonly { readonly path: string; readonly reason: string }[];
}
/** What a checkpoint's header says of a tensor. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly byteLength: number;
}
/** A tensor in memory that is the caller's own. Tensors that were loaded together may share one `ArrayBuffer`. */
export interface LoadedTensor extends NamedTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: number[];
  /** A typed array where JavaScript has the type; for BOOL, F16, BF16, F8, F6, F4 and C64 the same as `bytes`. */
  readonly data: TypedArrays[DType];
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * F16, BF16 and F8 as floats, each value exactly, in new memory; F32 as it is (`data` itself). Throws `MILLRACE_CONFIG` for other dtypes.
   */
  toFloat32(): Float32Array<ArrayBuffer>;
}
export interface TensorOptions extends Watch {
  /** Along the first dimension, `to` exclusive; only their bytes are read. Default: from the first, to the last. */
  rows?: { from?: number | undefined; to?: number | undefined } | undefined;
}
export interface LoadOptions extends Watch {
  /** Default: all. */
  names?: readonly string[] | undefined;
}
/**
 * A safetensors checkpoint whose header was read, of one version: once it has changed, reads throw `MILLRACE_CHANGED`. Progress counts tensors
 * as its objects.
 */
export interface Checkpoint {
  /** `__metadata__`; of several files together, where one key has several values that of the first file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the file, file by file. */
  readonly tensors: readonly TensorInfo[];
  /** Throws `MILLRACE_NOT_FOUND` where there is none of this name, `MILLRACE_CONFIG` for rows that it has not, or where it is longer than an array can be. */
  tensor(name: string, options?: TensorOptions): Promise<LoadedTensor>;
  /** All tensors, or those named, by name and in the order of the file. */
  load(options?: LoadOptions): Promise<ReadonlyMap<string, LoadedTensor>>;
  /** All tensors, or those named, one after the other in the order of the file, read a bounded way ahead. */
  stream(options?: LoadOptions): AsyncIterable<LoadedTensor>;
}
/** An open mill. Paths are below a mount, or URIs. Once it is closed every call throws `MILLRACE_CLOSED`. */
export interface Millrace extends AsyncDisposable {
  /**
   * `source`: a prefix, an object, a brace pattern, a glob, or a list of these. Lists and indexes the shards. Throws `MILLRACE_NOT_FOUND`, `MILLRACE_FORMAT`,
   * `MILLRACE_CORRUPT`, `MILLRACE_CONFIG`.
   */
  dataset<const F extends Fields>(source: string | readonly string[], options?: DatasetOptions<F>): Promise<Dataset<F>>;
  /** Every object below the prefix, in ascending order of path. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
  /** Throws `MILLRACE_NOT_FOUND`, `MILLRACE_PERMISSION`. */
  stat(path: string): Promise<ObjectInfo>;
  /** The present version, for reads at any place. */
  open(path: string): Promise<OpenFile>;
  /** The object's bytes, or those from `begin` to `end` (exclusive), through the cache. */
  readFile(path: string, options?: Watch & { begin?: number | undefined; end?: number | undefined }): Promise<Uint8Array<ArrayBuffer>>;
  /** Resolves when the origin holds the object; the cache then holds it too, up to 64 MiB. Throws `MILLRACE_PERMISSION` where the mount or store cannot be written. */
  writeFile(path: string, data: Uint8Array | string | AsyncIterable<Uint8Array>, options?: Watch): Promise<ObjectInfo>;
  /** A real local path with the object's bytes, for libraries that only take a file name. */
  materialize(path: string, options?: Watch): Promise<LocalCopy>;
  /** Fills the cache with objects, or with the first `steps` (default all) of a loader's epoch. */
  prefetch(
    source: string | readonly string[] | { loader: Loader<unknown>; epoch: number; steps?: number | undefined },
    options?: PrefetchOptions,
  ): PrefetchJob;
  /**
   * Opens a safetensors file, or one in several files by its `*.index.json`, and reads its header; no data yet. Throws `MILLRACE_NOT_FOUND`,
   * `MILLRACE_FORMAT`.
   */
  checkpoint(source: string, options?: Watch): Promise<Checkpoint>;
  /**
   * Saves tensors as a canonical safetensors file, which is visible when it is whole. They are listed first (those of an async iterable are all held
   * until the end), and their memory must stay as it is until the save has resolved. With `maxShardBytes`, or for a target that ends in
   * `.index.json`, there are several files, and the info is their index's. Throws `MILLRACE_CONFIG`, naming the tensor, and `MILLRACE_PERMISSION`.
   */
  saveCheckpoint(target: string, tensors: NamedTensors, options?: SaveOptions): Promise<ObjectInfo>;
  /** Resolves when every checkpoint that was saved with `write: "back"` is uploaded. Rejects with what keeps one from that; its copy stays on the disk. */
  flush(): Promise<void>;
  /**
   * Saves all that a run needs to go on as one checkpoint below the prefix, `state-000000000042.safetensors`, numbered one higher than any that was
   * there. Of several processes one saves (docs/checkpoints.md). Throws what `saveCheckpoint` throws, and `MILLRACE_CONFIG` for an `extra` that is no JSON.
   */
  saveTrainingState(prefix: string, run: TrainingRun, options?: TrainingStateOptions): Promise<ObjectInfo>;
  /**
   * The newest whole training state below the prefix, its header read; undefined where there are none. Throws `MILLRACE_CORRUPT` where none of those
   * that are there is whole, `MILLRACE_RESUME` where a newer version of Millrace wrote the newest.
   */
  loadLatest(prefix: string, options?: Watch): Promise<TrainingState | undefined>;
  /** Drops cached blocks below the prefix; resolves to the bytes freed. */
  evict(prefix: string): Promise<number>;
  /** Forgets what is known of the objects below the prefix, so that the next use asks the origin; resolves to the entries dropped. */
  invalidate(prefix: string): Promise<number>;
  /** How much of the data below the prefix each node holds, most first; a node that does not answer is left out. Throws `MILLRACE_NOT_FOUND`. */
  locate(prefix: string, options?: { signal?: AbortSignal | undefined }): Promise<readonly NodeShare[]>;
  /** The nodes that share the cache, this one first, then those that were found and do not; none without `peers`. */
  peers(): Promise<readonly PeerInfo[]>;
  /** The present figures, without asking the engine (docs/metrics.md). */
  stats(): MillStats;
  /** Ends what is under way, workers and sockets. Calling it again waits for the same end. */
  close(): Promise<void>;
}
/** Figures by group and name; docs/metrics.md has their units. */
export interface MillStats {
  readonly [group: string]: Readonly<Record<string, number | string>>;
}
