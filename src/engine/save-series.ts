/** Which checkpoints are of one series, by their names. Pure: no I/O. */

const INDEX = ".index.json";
const FILE = ".safetensors";

/**
 * A series is the checkpoints of one folder whose names differ in their last run of digits only, the endings `.safetensors` and
 * `.safetensors.index.json` not looked at: `run/step-100.safetensors` and `run/step-2000.safetensors`.
 */
export interface Series {
  /** Of the whole path, up to the digits. */
  readonly prefix: string;
  readonly suffix: string;
  readonly number: bigint;
}

/** Undefined for a name without digits: it is the only one of its series. */
export function seriesOf(path: string): Series | undefined {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const name = path.slice(folder.length);
  const ending = [FILE + INDEX, FILE, INDEX].find((one) => name.endsWith(one)) ?? "";
  const match = /^(.*?)(\d+)(\D*)$/s.exec(name.slice(0, name.length - ending.length));
  if (match === null) return undefined;
  const [, before, digits, after] = match as unknown as [string, string, string, string];
  return { prefix: folder + before, suffix: after + ending, number: BigInt(digits) };
}

/** Of `paths`, those of the series that are older than all of the `keep` newest, counted from `series` itself backwards. Newer ones stay. */
export function olderThan(series: Series, keep: number, paths: Iterable<string>): string[] {
  const older: { readonly path: string; readonly number: bigint }[] = [];
  for (const path of paths) {
    const other = seriesOf(path);
    if (other?.prefix !== series.prefix || other.suffix !== series.suffix || other.number >= series.number) continue;
    older.push({ path, number: other.number });
  }
  older.sort((a, b) => (a.number < b.number ? 1 : -1));
  return older.slice(keep - 1).map(({ path }) => path);
}

/** Whether a path is an index, which has shards beside it. */
export function isIndex(path: string): boolean {
  return path.endsWith(INDEX);
}

/**
 * The same checkpoint in its other form: the index beside a single file, or the single file beside an index. Undefined where the name of the file does not
 * end in `.safetensors`: what is called `model` beside a `model.index.json` may be anything.
 */
export function otherForm(path: string): string | undefined {
  if (!formless(path).endsWith(FILE)) return undefined;
  return isIndex(path) ? formless(path) : path + INDEX;
}

/** What both forms of a checkpoint have in their names. */
export function formless(path: string): string {
  return isIndex(path) ? path.slice(0, -INDEX.length) : path;
}

/** The shards that an index names, by path: those beside it that have its own name, with a number. Whatever else it says, nothing else is its. */
export function shardsOf(index: string, json: Uint8Array): string[] {
  const folder = index.slice(0, index.lastIndexOf("/") + 1);
  const stem = index.slice(folder.length, -INDEX.length).replace(/\.safetensors$/, "");
  let weights: unknown;
  try {
    weights = (JSON.parse(Buffer.from(json).toString()) as { weight_map?: unknown } | null)?.weight_map;
  } catch {
    return [];
  }
  const names = new Set(typeof weights === "object" && weights !== null ? Object.values(weights) : []);
  const own = (name: unknown): name is string =>
    typeof name === "string" &&
    name.startsWith(`${stem}-`) &&
    /^([0-9a-f]{8}-)?\d{5}-of-\d{5}\.safetensors$/.test(name.slice(stem.length + 1));
  return [...names].filter(own).map((name) => folder + name);
}
