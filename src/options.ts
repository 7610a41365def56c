/**
 * The options of a mill, their checks, and every default. Options are checked once, here and in the rooms of loaders and checkpoints; the rest of
 * the code gets plain numbers. zod never shows in a `.d.ts`.
 */
import { z } from "zod";
import type { MillraceOptions, ModuleRef, MountOptions, S3Credentials, S3Options } from "./api.js";
import { MillraceError } from "./errors.js";
import { parseBytes } from "./util/byte-size.js";
import { cpuLimit, memoryLimit } from "./util/cgroup.js";
import { checkOptions } from "./util/check-options.js";
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
  const checked = checkOptions(millSchema, options);
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
