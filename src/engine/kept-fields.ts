/** What the probe of a dataset's first record has found, kept with the record indexes: a second open need not read the record again. */
import type { Fields } from "../api.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { RecordFormat } from "../formats/format.js";
import type { Manifest } from "../formats/manifest.js";
import { checkFields } from "../loader/fit.js";

/** Grows when a format comes to read its records in another way. */
const VERSION = 1;

/** What a dataset's fields are found in. */
interface Records {
  readonly manifest: Manifest;
  readonly format: RecordFormat;
  readonly object: (shard: number) => ObjectVersion;
}

/** The fields that `probe` finds, or found before in the same record for the same declaration. Throws what `probe` throws. */
export async function keptFields(
  metadata: MetadataCache,
  dataset: Records,
  declared: Fields | undefined,
  probe: () => Promise<Fields>,
): Promise<Fields> {
  const key = keyOf(dataset, declared);
  const kept = await metadata.blob(key);
  const known = kept && decoded(kept, declared);
  if (known !== undefined) return known;
  const fields = await probe();
  void metadata.putBlob(key, Buffer.from(JSON.stringify(fields)));
  return fields;
}

/** Names the record by its object's version and place, and all else that the answer depends on. */
function keyOf({ manifest, format, object }: Records, declared: Fields | undefined): string {
  const { id } = object(manifest.shardOf(0));
  const bounds = [manifest.recordBegin(0), manifest.recordEnd(0)];
  return `fields-${JSON.stringify([VERSION, format.name, id, bounds, manifest.classes, declared])}`;
}

/** Undefined for what is no answer to this question. */
function decoded(bytes: Uint8Array, declared: Fields | undefined): Fields | undefined {
  try {
    const text = Buffer.from(bytes).toString();
    if (declared !== undefined) return text === JSON.stringify(declared) ? declared : undefined;
    const fields = JSON.parse(text) as Fields;
    checkFields(fields);
    return fields;
  } catch {
    return undefined;
  }
}
