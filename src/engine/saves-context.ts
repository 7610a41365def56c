import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache } from "../cache/tier-chain.js";
import type { Mounts } from "./mounts.js";
import type { PendingVersions } from "./pending-versions.js";

/** What saves know of their mill. */
export interface SavesContext {
  readonly mounts: Mounts;
  readonly metadata: MetadataCache;
  readonly cache: BlockCache;
  readonly pending: PendingVersions;
  readonly log: (level: string, fields: object, message: string) => void;
}
