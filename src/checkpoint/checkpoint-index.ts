/** The `*.index.json` of a checkpoint in several files: `weight_map` says which file has which tensor. Pure: no I/O. */
import { parseJsonObject, refusal } from "./safetensors.js";
import { quoted } from "./strict-json.js";

/** Files by tensor. Each lies beside the index: a name with a folder in it is refused. Throws MILLRACE_FORMAT. */
export function parseShardIndex(json: Uint8Array, file: string): ReadonlyMap<string, string> {
  const weights = parseJsonObject(json, file, "the index").get("weight_map");
  if (!(weights instanceof Map)) throw refusal(file, "the index has no weight_map");
  for (const [tensor, shard] of weights) {
    if (typeof shard !== "string") throw refusal(file, `tensor ${quoted(tensor)}: its file in weight_map is no string`);
    if (shard === "" || shard === "." || shard === ".." || /[/\\\0]/.test(shard))
      throw refusal(file, `tensor ${quoted(tensor)}: its file ${quoted(shard)} does not lie beside the index`);
  }
  return weights as ReadonlyMap<string, string>;
}
