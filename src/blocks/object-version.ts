import { createHash } from "node:crypto";
import type { OriginStore } from "../storage/origin-store.js";
import type { StoredObject } from "../storage/store.js";

/** How the blocks of a mount may be held. One instance a mount. */
export interface HoldRules {
  readonly mount: string;
  readonly admission: "pin" | "lru";
  /** Largest part of the cache's capacity that this mount may hold, 0 to 1. */
  readonly share: number;
  /** Its origin is this machine: no peer is asked. */
  readonly local?: boolean;
}

/** One version of one object: new etag, new id, so bytes of two versions never mix. */
export interface ObjectVersion {
  /** 32 hex digits: hash of URI, size and etag. */
  readonly id: string;
  readonly store: OriginStore;
  readonly stored: StoredObject;
  /** `store.uri` + "/" + path. */
  readonly uri: string;
  readonly size: number;
  readonly rules: HoldRules;
}

/** `id`: where it is known; making it costs 5 µs. */
export function objectVersion(store: OriginStore, stored: StoredObject, rules: HoldRules, id?: string): ObjectVersion {
  const uri = `${store.uri}/${stored.path}`;
  return { id: id ?? objectId(uri, stored), store, stored, uri, size: stored.size, rules };
}

/** The id of a version of the object at `uri`. */
export function objectId(uri: string, { size, etag }: Pick<StoredObject, "size" | "etag">): string {
  return createHash("sha256").update(`${uri}\n${size}\n${etag}`).digest("hex").slice(0, 32);
}
