/**
 * Every option, its check and its default, in one place. Options are checked once, here; the rest of the code gets plain numbers.
 * zod stays inside this file: it never shows in a `.d.ts`.
 */
import { z } from "zod";
import type { LoaderOptions, MillraceOptions, ModuleRef, MountOptions, S3Credentials, S3Options } from "./api.js";
import { MillraceError } from "./errors.js";
import { parseBytes } from "./util/byte-size.js";
import { cpuLimit, memoryLimit } from "./util/cgroup.js";
import { parseDuration } from "./util/duration.js";

const MIB = 2 ** 20;
/** Smallest block; the disk tier's file names carry the block size in this unit. */
export const BLOCK_UNIT: number = 64 * 1024;

export interface Defaults {
  readonly memoryShare: number;
  readonly blockSize: number;
  readonly metadataTtlMs: number;
  readonly metadataBytes: number;
  readonly highWatermark: number;
  readonly lowWatermark: number;
  readonly concurrency: number;
  readonly hedge: number;
  readonly maxRecordBytes: number;
  readonly lanes: number;
  readonly windowBytes: number;
  readonly decodeTimeoutMs: number;
}

export const DEFAULTS: Defaults = {
  /** Part of the memory limit that the memory tier takes: leaves room for the framework, the windows and the batches. */
  memoryShare: 1 / 4,
  blockSize: MIB,
  metadataTtlMs: 10 * 60_000,
  metadataBytes: 256 * MIB,
  highWatermark: 0.95,
  lowWatermark: 0.85,
  /** A ceiling: how many are in flight is found by measuring. Fills 25 Gbit/s at 30 ms and 90 MB/s a connection; more mostly meets SlowDown. */
  concurrency: 64,
  /** One read in 20: enough for the slow few percent, too little to burden an origin that is slow as a whole. */
  hedge: 0.05,
  maxRecordBytes: 2 ** 30,
  lanes: 24,
  windowBytes: 512 * MIB,
  decodeTimeoutMs: 60_000,
};

const bytes = z.union([z.string(), z.number()]);
const duration = z.union([z.string(), z.number()]);
const natural = z.number().int().positive();
const fraction = z.number().gt(0).lte(1);

// Not strict: the AWS SDK writes a note of its own into the credentials objects that it is given.
const credentials = z.object({
  accessKeyId: z.string().min(1),
  secretAccessKey: z.string().min(1),
  sessionToken: z.string().optional(),
  expiration: z.date().optional(),
});
const s3Schema = z.strictObject({
  endpoint: z.url({ protocol: /^https?$/, error: "expected an http(s) URL" }).optional(),
  region: z.string().min(1).optional(),
  forcePathStyle: z.boolean().optional(),
  anonymous: z.boolean().optional(),
  credentials: z.union([credentials, z.custom<() => Promise<S3Credentials>>((value) => typeof value === "function")]).optional(),
});
const mountSchema = z.union([
  z.string().min(1),
  z.strictObject({
    uri: z.string().min(1),
    readOnly: z.boolean().optional(),
    admission: z.enum(["pin", "lru"]).optional(),
    share: fraction.optional(),
    s3: s3Schema.optional(),
  }),
]);
const moduleSchema = z.strictObject({
  url: z.union([z.string(), z.instanceof(URL)]),
  export: z.string().optional(),
  args: z.unknown().optional(),
});
const diskSchema = z.strictObject({
  path: z.string().min(1),
  capacity: bytes,
  highWatermark: fraction.optional(),
  lowWatermark: fraction.optional(),
});
const pem = z.union([z.string().min(1), z.instanceof(Buffer)], "expected a certificate or key in PEM");
const peersSchema = z.strictObject({
  listen: z.string().min(1).optional(),
  health: z.string().min(1).optional(),
  advertise: z.string().min(1).optional(),
  secret: z.string().min(1, "it is empty; set the same secret on every peer, or none").optional(),
  tls: z.strictObject({ key: pem, cert: pem, ca: pem, servername: z.string().min(1).optional() }).optional(),
  discover: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  labels: z.record(z.string().min(1), z.string().optional()).optional(),
  weight: z.number().nonnegative().optional(),
  copies: z.boolean().optional(),
  timeout: duration.optional(),
});
const millSchema = z.strictObject({
  mounts: z.record(z.string(), mountSchema).optional(),
  s3: s3Schema.optional(),
  stores: z.record(z.string().regex(/^[a-z][a-z0-9+.-]*$/, "expected a URI scheme such as gs"), moduleSchema).optional(),
  cache: z
    .strictObject({
      memory: bytes.optional(),
      disk: z.array(diskSchema).optional(),
      blockSize: bytes.optional(),
      metadata: z.strictObject({ ttl: duration.optional(), memory: bytes.optional() }).optional(),
    })
    .optional(),
  peers: peersSchema.optional(),
  limits: z
    .strictObject({
      bandwidth: bytes.optional(),
      requestsPerSecond: z.number().positive().optional(),
      concurrency: natural.optional(),
      hedge: z.number().min(0).max(1).optional(),
      maxRecordBytes: bytes.optional(),
    })
    .optional(),
  engine: z
    .union([
      z.enum(["worker", "inline"]),
      z.strictObject({
        ioThreads: z.union([z.number().int().min(1).max(64), z.literal("auto")], "expected a whole number from 1 to 64, or auto"),
      }),
    ])
    .optional(),
  logger: z
    .custom<object>(
      (value) =>
        typeof value === "object" &&
        value !== null &&
        ["debug", "info", "warn", "error"].every((name) => typeof (value as Record<string, unknown>)[name] === "function"),
      "expected an object with debug, info, warn and error",
    )
    .optional(),
});

const state = z.strictObject({
  version: z.literal(1, "written by another version of Millrace"),
  fingerprint: z.string(),
  order: z.string(),
  epoch: z.number().int().nonnegative(),
  position: z.number().int().nonnegative(),
});
const rankOption = z.union([z.number().int().nonnegative(), z.literal("env")]);
const loaderSchema = z.strictObject({
  batchSize: natural,
  shuffle: z
    .union([
      z.literal(false),
      z.strictObject({ seed: z.number().int(), mode: z.enum(["window", "global"]).optional(), window: bytes.optional() }),
    ])
    .optional(),
  rank: rankOption.optional(),
  worldSize: z.union([natural, z.literal("env")]).optional(),
  lanes: natural.optional(),
  remainder: z.enum(["drop", "pad", "keep"]).optional(),
  resume: state.optional(),
  stepsPerEpoch: natural.optional(),
  onError: z.enum(["throw", "skip"]).optional(),
  workers: z.union([z.number().int().nonnegative(), z.literal("auto")]).optional(),
  decodeTimeout: duration.optional(),
  readAhead: z.union([z.literal("auto"), bytes]).optional(),
  recycle: z.boolean().optional(),
  signal: z.instanceof(AbortSignal).optional(),
  decode: z
    .custom<object>(
      (value) => typeof value === "object" && value !== null && "url" in value && "run" in value,
      "expected what defineDecoder returns",
    )
    .optional(),
  decodeArgs: z.unknown().optional(),
});

/** `cache.disk[0].capacity`: how the caller wrote it. */
function optionName(prefix: string, path: readonly PropertyKey[]): string {
  let name = prefix;
  for (const part of path) name += typeof part === "number" ? `[${part}]` : name === "" ? String(part) : `.${String(part)}`;
  return name;
}

function describe(issue: z.core.$ZodIssue, prefix: string): string {
  if (issue.code === "unrecognized_keys") {
    const names = issue.keys.map((key) => optionName(prefix, [...issue.path, key])).join(", ");
    return `${names}: no such option; see docs/configuration.md`;
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    // The branch that got furthest is the one the caller meant.
    const depth = (branch: readonly z.core.$ZodIssue[]) =>
      Math.max(0, ...branch.map((inner) => inner.path.length + (inner.code === "unrecognized_keys" ? 1 : 0)));
    const best = [...issue.errors].sort((a, b) => depth(b) - depth(a))[0]!;
    if (depth(best) > 0) return describe({ ...best[0]!, path: [...issue.path, ...best[0]!.path] }, prefix);
    return `${optionName(prefix, issue.path)}: ${issue.errors.map((branch) => branch[0]?.message ?? "").join("; or ")}`;
  }
  return `${optionName(prefix, issue.path) || "options"}: ${issue.message}`;
}

function check<T>(schema: z.ZodType<T>, value: unknown, prefix = ""): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new MillraceError("MILLRACE_CONFIG", result.error.issues.map((issue) => describe(issue, prefix)).join("\n"));
}

/** S3 options as they cross to the engine: a credentials function stays behind and is known by its number. */
export type WireS3 = Omit<S3Options, "credentials"> & { credentials?: S3Credentials | { readonly ask: number } | undefined };
export interface MountConfig {
  /** `/imagenet`, without a slash at the end. */
  readonly prefix: string;
  readonly uri: string;
  readonly readOnly: boolean;
  readonly admission: "pin" | "lru";
  readonly share: number;
  readonly s3: WireS3 | undefined;
}
/** All the engine needs to know, in numbers, ready to be cloned to its thread. */
export interface EngineConfig {
  readonly mounts: readonly MountConfig[];
  readonly s3: WireS3 | undefined;
  readonly stores: Readonly<Record<string, { readonly url: string; readonly export: string; readonly args: unknown }>>;
  readonly cache: {
    readonly memoryBytes: number;
    readonly disk: readonly {
      readonly path: string;
      readonly capacity: number;
      readonly highWatermark: number;
      readonly lowWatermark: number;
    }[];
    readonly blockSize: number;
    readonly metadata: { readonly ttlMs: number; readonly memoryBytes: number };
  };
  readonly limits: {
    readonly bandwidth: number | undefined;
    readonly requestsPerSecond: number | undefined;
    readonly concurrency: number;
    readonly hedge: number;
    readonly maxRecordBytes: number;
  };
  /** 1: the engine's thread reads by itself. */
  readonly ioThreads: number;
  readonly peers: PeersConfig | undefined;
}
/** How this node shares its cache with others. Addresses and URIs are checked by those who use them. */
export interface PeersConfig {
  /** Undefined: this process only asks. */
  readonly listen: string | undefined;
  readonly health: string | undefined;
  readonly advertise: string | undefined;
  readonly secret: string | undefined;
  /** PEM. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string; readonly servername: string | undefined } | undefined;
  readonly discover: string | readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly weight: number;
  readonly copies: boolean;
  /** Undefined: by what the origin takes. */
  readonly timeoutMs: number | undefined;
}
export interface MillConfig {
  readonly engine: EngineConfig;
  readonly inline: boolean;
  /** The functions that `{ ask }` in the engine's S3 options stands for. */
  readonly credentials: readonly (() => Promise<S3Credentials>)[];
}

/** Checks the options of `openMillrace`. Throws MILLRACE_CONFIG naming each bad option. */
export function millConfig(options: MillraceOptions): MillConfig {
  const checked = check(millSchema, options);
  const asked: (() => Promise<S3Credentials>)[] = [];
  const s3 = (given: S3Options | undefined): WireS3 | undefined => {
    if (given === undefined) return undefined;
    const { credentials: provider, ...rest } = given;
    if (typeof provider !== "function") return { ...rest, credentials: provider };
    return { ...rest, credentials: { ask: asked.push(provider) - 1 } };
  };
  return {
    inline: checked.engine === "inline",
    credentials: asked,
    engine: {
      mounts: Object.entries(checked.mounts ?? {}).map(([prefix, mount]) => mountConfig(prefix, mount as string | MountOptions, s3)),
      s3: s3(checked.s3),
      stores: Object.fromEntries(Object.entries(checked.stores ?? {}).map(([scheme, ref]) => [scheme, moduleConfig(scheme, ref)])),
      cache: cacheConfig(checked.cache ?? {}),
      limits: {
        bandwidth: checked.limits?.bandwidth === undefined ? undefined : bandwidthOf(checked.limits.bandwidth),
        requestsPerSecond: checked.limits?.requestsPerSecond,
        concurrency: checked.limits?.concurrency ?? DEFAULTS.concurrency,
        hedge: checked.limits?.hedge ?? DEFAULTS.hedge,
        maxRecordBytes: parseBytes(checked.limits?.maxRecordBytes ?? DEFAULTS.maxRecordBytes, "limits.maxRecordBytes"),
      },
      ioThreads: ioThreads(checked.engine),
      peers: checked.peers && peersConfig(checked.peers),
    },
  };
}

/** Twice what a peer that is at work lets pass between two signs of life; and what it is waited for in all. */
const PEER_TIMEOUT_MS = { least: 200, most: 30_000 } as const;

function peersConfig({ labels = {}, weight = 1, copies = false, tls, timeout, ...peers }: z.infer<typeof peersSchema>): PeersConfig {
  const set = Object.entries(labels).filter((label): label is [string, string] => label[1] !== undefined);
  const text = tls && { key: String(tls.key), cert: String(tls.cert), ca: String(tls.ca), servername: tls.servername };
  const { listen, health, advertise, secret, discover } = peers;
  if (health !== undefined && listen === undefined)
    throw new MillraceError("MILLRACE_CONFIG", "peers.health: without peers.listen nobody is served, and there is nothing to probe");
  const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout, "peers.timeout");
  if (timeoutMs !== undefined && (timeoutMs < PEER_TIMEOUT_MS.least || timeoutMs > PEER_TIMEOUT_MS.most))
    throw new MillraceError("MILLRACE_CONFIG", "peers.timeout: expected 200 milliseconds to 30 seconds");
  return { listen, health, advertise, secret, tls: text, discover, labels: Object.fromEntries(set), weight, copies, timeoutMs };
}

/** A thread deciphers 0.4 to 1 GB/s; the engine, the loop and its decoders want CPUs too, and 8 threads fill 25 Gbit/s. */
function ioThreads(engine: z.infer<typeof millSchema>["engine"]): number {
  if (engine === "inline") return 1;
  const asked = typeof engine === "object" ? engine.ioThreads : "auto";
  return asked === "auto" ? Math.min(8, Math.max(1, Math.floor(cpuLimit() / 4))) : asked;
}

function bandwidthOf(given: string | number): number {
  const bandwidth = parseBytes(given, "limits.bandwidth");
  if (bandwidth === 0) throw new MillraceError("MILLRACE_CONFIG", "limits.bandwidth: 0 lets nothing through; leave it out for no limit");
  return bandwidth;
}

function mountConfig(prefix: string, mount: string | MountOptions, s3: (given: S3Options | undefined) => WireS3 | undefined): MountConfig {
  const name = `mounts[${JSON.stringify(prefix)}]`;
  if (!/^(\/[^/]+)+\/?$/.test(prefix)) throw new MillraceError("MILLRACE_CONFIG", `${name}: a mount is a path such as "/imagenet"`);
  const given = typeof mount === "string" ? { uri: mount } : mount;
  if (!/^[a-z][a-z0-9+.-]+:/i.test(given.uri))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${name}: "${given.uri}" is not a URI: write s3://bucket/…, https://host/…, file:///path or file:./path`,
    );
  return {
    prefix: prefix.replace(/\/$/, ""),
    uri: given.uri.replace(/\/+$/, ""),
    readOnly: given.readOnly ?? false,
    admission: given.admission ?? "pin",
    share: given.share ?? 1,
    s3: s3(given.s3),
  };
}

function moduleConfig(scheme: string, ref: ModuleRef): EngineConfig["stores"][string] {
  if (!URL.canParse(String(ref.url)))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `stores.${scheme}.url: expected an absolute URL, such as new URL("./my-store.js", import.meta.url)`,
    );
  return { url: String(ref.url), export: ref.export ?? "default", args: ref.args };
}

function cacheConfig(cache: NonNullable<z.infer<typeof millSchema>["cache"]>): EngineConfig["cache"] {
  // A power of two: what is cut at larger powers of two (spans, groups of peers) is then whole blocks.
  const blockSize = parseBytes(cache.blockSize ?? DEFAULTS.blockSize, "cache.blockSize");
  if (blockSize === 0 || blockSize % BLOCK_UNIT !== 0 || blockSize > 64 * MIB || (blockSize & (blockSize - 1)) !== 0)
    throw new MillraceError("MILLRACE_CONFIG", `cache.blockSize: expected a power of two from 64 KiB to 64 MiB, got ${blockSize}`);
  return {
    memoryBytes: parseBytes(cache.memory ?? Math.floor(memoryLimit() * DEFAULTS.memoryShare), "cache.memory"),
    disk: (cache.disk ?? []).map((disk, i) => {
      const highWatermark = disk.highWatermark ?? DEFAULTS.highWatermark;
      const lowWatermark = disk.lowWatermark ?? Math.min(DEFAULTS.lowWatermark, highWatermark);
      if (lowWatermark > highWatermark)
        throw new MillraceError(
          "MILLRACE_CONFIG",
          `cache.disk[${i}].lowWatermark: ${lowWatermark} is above highWatermark ${highWatermark}`,
        );
      return { path: disk.path, capacity: parseBytes(disk.capacity, `cache.disk[${i}].capacity`), highWatermark, lowWatermark };
    }),
    blockSize,
    metadata: {
      ttlMs: parseDuration(cache.metadata?.ttl ?? DEFAULTS.metadataTtlMs, "cache.metadata.ttl"),
      memoryBytes: parseBytes(cache.metadata?.memory ?? DEFAULTS.metadataBytes, "cache.metadata.memory"),
    },
  };
}

/** A loader's options in numbers; functions and signals left out. */
export interface LoaderConfig {
  readonly batchSize: number;
  readonly shuffle: false | { readonly seed: number; readonly mode: "window" | "global"; readonly windowBytes: number };
  readonly rank: number;
  readonly worldSize: number;
  readonly lanes: number;
  readonly remainder: "drop" | "pad" | "keep";
  readonly stepsPerEpoch: number | undefined;
  readonly onError: "throw" | "skip";
  readonly workers: number | "auto";
  readonly decodeTimeoutMs: number;
  readonly readAhead: "auto" | number;
  readonly recycle: boolean;
}

const RANK_VARIABLES = ["RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMI_RANK"];
const WORLD_VARIABLES = ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "PMI_SIZE"];

function fromEnvironment(variables: readonly string[], option: string): number {
  const name = variables.find((variable) => process.env[variable] !== undefined);
  if (name === undefined)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: "env" needs one of ${variables.join(", ")} in the environment; set it, or give a number`,
    );
  const text = process.env[name]!;
  // Number("") is 0: a variable left empty must not make every process rank 0.
  if (!/^\d+$/.test(text)) throw new MillraceError("MILLRACE_CONFIG", `${option}: ${name}=${text} is not a number`);
  return Number(text);
}

/** Checks the options of `dataset.loader`. Throws MILLRACE_CONFIG naming each bad option. */
export function loaderConfig(options: LoaderOptions): LoaderConfig {
  const checked = check(loaderSchema, options);
  const worldSize = checked.worldSize === "env" ? fromEnvironment(WORLD_VARIABLES, "worldSize") : (checked.worldSize ?? 1);
  const rank = checked.rank === "env" ? fromEnvironment(RANK_VARIABLES, "rank") : (checked.rank ?? 0);
  if (worldSize === 0) throw new MillraceError("MILLRACE_CONFIG", "worldSize: 0 in the environment; there is one process at least");
  if (rank >= worldSize) throw new MillraceError("MILLRACE_CONFIG", `rank: ${rank} is not below worldSize ${worldSize}`);
  const shuffle = checked.shuffle ?? false;
  return {
    batchSize: checked.batchSize,
    shuffle: shuffle && {
      seed: shuffle.seed,
      mode: shuffle.mode ?? "window",
      windowBytes: parseBytes(shuffle.window ?? DEFAULTS.windowBytes, "shuffle.window"),
    },
    rank,
    worldSize,
    lanes: checked.lanes ?? DEFAULTS.lanes,
    remainder: checked.remainder ?? (worldSize === 1 ? "keep" : "drop"),
    stepsPerEpoch: checked.stepsPerEpoch,
    onError: checked.onError ?? "throw",
    workers: checked.workers ?? "auto",
    decodeTimeoutMs: parseDuration(checked.decodeTimeout ?? DEFAULTS.decodeTimeoutMs, "decodeTimeout"),
    readAhead: checked.readAhead === undefined || checked.readAhead === "auto" ? "auto" : parseBytes(checked.readAhead, "readAhead"),
    recycle: checked.recycle ?? false,
  };
}

const datasetSchema = z.strictObject({
  format: z.string().optional(),
  fields: z.record(z.string(), z.unknown()).optional(),
  classes: z.array(z.string()).optional(),
  onError: z.enum(["throw", "skip"]).optional(),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z.custom<(progress: never) => void>((value) => typeof value === "function").optional(),
});
/** Checks the options of `mill.dataset` but for `fields`, which loader/fit.ts knows. Throws MILLRACE_CONFIG. */
export function checkDatasetOptions(options: object): void {
  check(datasetSchema, options);
}

const saveSchema = z.strictObject({
  write: z.enum(["through", "back"]).optional(),
  keep: z.int().min(1).optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  maxShardBytes: bytes.optional(),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z.custom<(progress: never) => void>((value) => typeof value === "function").optional(),
});
export interface SaveSettings {
  readonly write: "through" | "back";
  readonly keep: number | undefined;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  readonly maxShardBytes: number | undefined;
}
/** The options of `mill.saveCheckpoint`, checked. Throws MILLRACE_CONFIG. */
export function checkSaveOptions(options: object): SaveSettings {
  const { write = "through", keep, metadata, maxShardBytes } = check(saveSchema, options);
  return { write, keep, metadata, maxShardBytes: maxShardBytes === undefined ? undefined : parseBytes(maxShardBytes, "maxShardBytes") };
}
