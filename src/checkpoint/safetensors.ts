/**
 * The header of a safetensors file, read strictly and written canonically. Pure: no I/O.
 * Format: https://github.com/huggingface/safetensors (README, "Format"): u64 header length N, N bytes of JSON, the tensors' bytes.
 */
import { MillraceError } from "../errors.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { DTYPES, tensorBytes } from "./dtypes.js";
import { OddNumber, parseStrictJson, quoted, type StrictJson, StrictJsonError } from "./strict-json.js";

export interface TensorShape {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}
export interface TensorEntry extends TensorShape {
  /** Bytes of the file: `begin` inclusive, `end` exclusive. */
  readonly begin: number;
  readonly end: number;
}
export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the file. */
  readonly tensors: readonly TensorEntry[];
  /** Where the data begins in the file: 8 + N. */
  readonly dataBegin: number;
}
export interface FormattedHeader {
  /** Length and JSON: what comes before the data. A multiple of 8 bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Numbers of the given tensors, in the order in which their data must follow. */
  readonly order: readonly number[];
  /** Bytes of each, in the order in which they were given. */
  readonly sizes: readonly number[];
  /** Bytes of all data. */
  readonly dataBytes: number;
}

/** Bytes of the length that a file begins with. */
export const LENGTH_BYTES = 8;
/** Longer headers are refused, as by the reference reader: 100 MB describe a million tensors. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";

/** N, the bytes of JSON after the first 8. Throws MILLRACE_FORMAT, naming `file`. */
export function headerLength(first: Uint8Array, fileSize: number, file: string): number {
  if (fileSize < LENGTH_BYTES) throw refusal(file, `a file of ${fileSize} bytes is too short for a header`);
  const view = new DataView(first.buffer, first.byteOffset, LENGTH_BYTES);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length === 0) throw refusal(file, "its header is empty");
  const kind = LENGTH_BYTES + length > fileSize ? kindOf(first) : undefined;
  if (kind !== undefined) throw refusal(file, `no safetensors file: looks like ${kind}`);
  if (length > MAX_HEADER_BYTES) throw refusal(file, `its header of ${length} bytes is longer than the ${MAX_HEADER_BYTES} allowed`);
  if (LENGTH_BYTES + length > fileSize) throw refusal(file, `its header of ${length} bytes is cut short: the file has ${fileSize} bytes`);
  return length;
}

/** What people take for a safetensors file, by how it begins. Read as a length each of these is longer than the file. */
function kindOf(first: Uint8Array): string | undefined {
  const text = Buffer.from(first.subarray(0, 32)).toString("latin1");
  if (text.startsWith("PK\x03\x04")) return "a zip archive, as PyTorch's .pt is; convert it to safetensors";
  if (/^<(?:!doctype|html)/i.test(text)) return "an HTML page; is this the file's own address?";
  if (text.startsWith("version https://git-lfs")) return "a pointer of Git LFS; fetch the file itself, by `git lfs pull`";
  return undefined;
}

/** `bytes`: the file's first 8 + N at least. `file`: its name, for messages. Throws MILLRACE_FORMAT, naming the tensor. */
export function parseHeader(bytes: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const dataBegin = LENGTH_BYTES + headerLength(bytes, fileSize, file);
  const json = parseJsonObject(bytes.subarray(LENGTH_BYTES, dataBegin), file, "its header");
  const metadata = parseMetadata(json.get(METADATA), file);
  json.delete(METADATA);
  const tensors = Array.from(json, ([name, entry]) => parseEntry(name, entry, dataBegin, file));
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(tensors, dataBegin, fileSize, file);
  return { metadata, tensors, dataBegin };
}

/**
 * The canonical header: widest dtype first, then by name, packed, padded with spaces to a multiple of 8, so that each tensor is aligned.
 * Throws MILLRACE_CONFIG for a name that comes twice or is reserved, an unknown dtype, or a shape that a reader would refuse.
 */
export function formatHeader(tensors: readonly TensorShape[], metadata: Readonly<Record<string, string>> = {}): FormattedHeader {
  const sizes = checkedSizes(tensors);
  const rank = (i: number) => DTYPES.get(tensors[i]!.dtype)!.rank;
  const order = Array.from(tensors.keys()).sort((a, b) => rank(b) - rank(a) || compareUtf8(tensors[a]!.name, tensors[b]!.name));
  let dataBytes = 0;
  const entries = order.map((i) => {
    const { name, dtype, shape } = tensors[i]!;
    const begin = dataBytes;
    dataBytes += sizes[i]!;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape: [...shape], data_offsets: [begin, dataBytes] })}`;
  });
  const formatted = formatMetadata(metadata);
  if (formatted !== undefined) entries.unshift(`"${METADATA}":${formatted}`);
  if (!Number.isSafeInteger(dataBytes)) throw unwritable(`the tensors are more than ${Number.MAX_SAFE_INTEGER} bytes`);
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) throw unwritable(`a header of ${length} bytes is longer than the ${MAX_HEADER_BYTES} allowed`);
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20, LENGTH_BYTES);
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(json, LENGTH_BYTES);
  return { bytes, order, sizes, dataBytes };
}

/** A JSON object of a file. Throws MILLRACE_FORMAT, naming `file` and `what` of it. */
export function parseJsonObject(bytes: Uint8Array, file: string, what: string): Map<string, StrictJson> {
  let value: StrictJson;
  try {
    value = parseStrictJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    if (!(cause instanceof StrictJsonError)) throw refusal(file, `${what} is not UTF-8`, cause);
    throw refusal(file, `${what} is not valid JSON: ${cause.message}`, cause);
  }
  if (!(value instanceof Map)) throw refusal(file, `${what} is no JSON object`);
  return value;
}

export function refusal(file: string, problem: string, cause?: unknown): MillraceError {
  return new MillraceError("MILLRACE_FORMAT", `${file}: ${problem}`, { uri: file, cause });
}

function parseMetadata(value: StrictJson | undefined, file: string): Record<string, string> {
  if (value === undefined) return {};
  if (!(value instanceof Map)) throw refusal(file, `${METADATA} is no JSON object`);
  for (const [key, text] of value)
    if (typeof text !== "string") throw refusal(file, `${METADATA}: the value of ${quoted(key)} is no string`);
  return Object.fromEntries(value as Map<string, string>);
}

function parseEntry(name: string, entry: StrictJson, dataBegin: number, file: string): TensorEntry {
  const refuse = (problem: string): MillraceError => refusal(file, `tensor ${quoted(name)}: ${problem}`);
  if (!(entry instanceof Map)) throw refuse("its entry is no JSON object");
  const dtype = entry.get("dtype");
  const known = typeof dtype === "string" ? DTYPES.get(dtype) : undefined;
  if (typeof dtype !== "string" || known === undefined) throw refuse(`its dtype ${shown(dtype)} is not known`);
  const shape = integers(entry.get("shape"));
  if (shape === undefined) throw refuse(`its shape ${shown(entry.get("shape"))} is no list of integers from 0 to 2^53 − 1`);
  const offsets = integers(entry.get("data_offsets"));
  if (offsets?.length !== 2)
    throw refuse(`its data_offsets ${shown(entry.get("data_offsets"))} are no pair of integers from 0 to 2^53 − 1`);
  const [begin, end] = offsets as [number, number];
  if (end < begin) throw refuse(`its data_offsets end (${end}) before they begin (${begin})`);
  let bytes: number;
  try {
    bytes = tensorBytes(known, shape);
  } catch (error) {
    throw refuse((error as RangeError).message);
  }
  if (end - begin !== bytes) throw refuse(`its data_offsets span ${end - begin} bytes, but ${dtype} [${shape}] takes ${bytes}`);
  return { name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

/** No holes, no overlaps, no bytes left over. */
function checkCover(tensors: readonly TensorEntry[], dataBegin: number, fileSize: number, file: string): void {
  let at = dataBegin;
  for (const { name, begin, end } of tensors) {
    const problem = begin > at ? `leaves a hole of ${begin - at} bytes before it` : "overlaps the tensor before it";
    if (begin !== at) throw refusal(file, `tensor ${quoted(name)}: its data ${problem} (at ${begin - dataBegin})`);
    at = end;
  }
  const last = tensors.at(-1);
  const of = last === undefined ? "no tensor" : `tensor ${quoted(last.name)}`;
  if (at > fileSize) throw refusal(file, `${of}: its data ends at ${at}, beyond the file's ${fileSize} bytes: it was cut short`);
  if (at < fileSize) throw refusal(file, `${of}: ${fileSize - at} bytes of the file come after the last tensor's`);
}

function checkedSizes(tensors: readonly TensorShape[]): number[] {
  const names = new Set<string>();
  return tensors.map(({ name, dtype, shape }) => {
    const refuse = (problem: string): MillraceError => unwritable(`tensor ${quoted(name)}: ${problem}`);
    if (name === METADATA) throw refuse("this name is reserved");
    if (/\p{Surrogate}/u.test(name)) throw refuse("its name holds half a surrogate pair");
    if (names.has(name)) throw refuse("this name comes twice");
    names.add(name);
    const known = DTYPES.get(dtype);
    if (known === undefined) throw refuse(`dtype ${quoted(dtype)} is not one of ${[...DTYPES.keys()].join(", ")}`);
    if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0))
      throw refuse(`shape [${shape.map(String)}]: dimensions are integers from 0 to 2^53 − 1`);
    try {
      return tensorBytes(known, shape);
    } catch (error) {
      throw refuse((error as RangeError).message);
    }
  });
}

/** Sorted by key, so that the same metadata gives the same bytes; undefined where there is none. */
function formatMetadata(metadata: Readonly<Record<string, string>>): string | undefined {
  const pairs = Object.entries(metadata).sort(([a], [b]) => compareUtf8(a, b));
  for (const pair of pairs)
    if (pair.some((text) => typeof text !== "string" || /\p{Surrogate}/u.test(text)))
      throw unwritable(`metadata ${quoted(pair[0])}: keys and values are strings of whole Unicode characters`);
  return pairs.length === 0 ? undefined : `{${pairs.map((pair) => pair.map((text) => JSON.stringify(text)).join(":")).join(",")}}`;
}

function unwritable(problem: string): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", `The checkpoint cannot be written: ${problem}`);
}

/** Plain non-negative integers; undefined for anything else. */
function integers(value: StrictJson | undefined): number[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === "number") ? (value as number[]) : undefined;
}

/** A value from a file, for a message. */
function shown(value: StrictJson | undefined): string {
  if (value === undefined) return "(missing)";
  const plain = (_key: string, part: unknown): unknown =>
    part instanceof OddNumber ? `number ${part.text}` : part instanceof Map ? "{…}" : part;
  const text = JSON.stringify(value, plain);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
