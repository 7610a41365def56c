/** What callers give as a tensor, checked before anything is written: its bytes must mean what its dtype says. */
import type { NamedTensor } from "../api.js";
import { MillraceError } from "../errors.js";
import { DTYPES } from "./dtypes.js";
import { quoted } from "./strict-json.js";

const NEEDED = ["name", "dtype", "shape", "data"];
/** What loaded tensors and their infos have besides. */
const KNOWN = new Set([...NEEDED, "bytes", "byteLength", "toFloat32"]);
/** Views of bytes, whatever these mean. */
const RAW = ["Uint8Array", "Uint8ClampedArray", "DataView"];
/** Arrays that hold the bits of a dtype for which JavaScript, or an older Node, has no type. */
const BITS_OF: Readonly<Record<string, readonly string[]>> = {
  F16: ["Uint16Array", "Float16Array"],
  BF16: ["Uint16Array"],
  C64: ["Float32Array"],
};

/** The tensor's bytes where they are. `index`: among those given, for one without a name. Throws MILLRACE_CONFIG, naming the tensor and what is wrong. */
export function bytesOf(tensor: unknown, index: number): Uint8Array {
  const { name, dtype, data } = checked(tensor, index);
  const tag: string = Object(data)[Symbol.toStringTag] ?? "";
  const refuse = (problem: string): MillraceError => config(`tensor ${quoted(name)}: ${problem}`);
  if (!ArrayBuffer.isView(data)) throw refuse(`data: expected a typed array, got ${kindOf(data)}${insteadOf(data)}`);
  const fitting = arraysOf(dtype);
  if (fitting !== undefined && !fitting.includes(tag) && !RAW.includes(tag)) {
    const own =
      fitting[0] === undefined ? "takes its bytes as Uint8Array" : `takes ${withArticle(fitting[0])} (or its bytes as Uint8Array)`;
    throw refuse(`dtype ${dtype} ${own}, got ${tag}`);
  }
  try {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  } catch (cause) {
    throw new MillraceError("MILLRACE_CONFIG", `tensor ${quoted(name)}: its memory was transferred elsewhere`, { cause });
  }
}

function checked(tensor: unknown, index: number): NamedTensor {
  const shape = `{ ${NEEDED.join(", ")} }`;
  if (typeof tensor !== "object" || tensor === null) throw config(`tensors[${index}]: expected ${shape}, got ${kindOf(tensor)}`);
  const given = tensor as Record<string, unknown>;
  const what = typeof given.name === "string" ? `tensor ${quoted(given.name)}` : `tensors[${index}]`;
  const unknown = Object.keys(given).filter((key) => !KNOWN.has(key));
  if (unknown.length > 0) throw config(`${what}: a tensor is ${shape}; it has no ${unknown.map(quoted).join(", ")}`);
  for (const key of ["name", "dtype"])
    if (typeof given[key] !== "string") throw config(`${what}: ${key}: expected a string, got ${kindOf(given[key])}`);
  if (!Array.isArray(given.shape)) throw config(`${what}: shape: expected an array of numbers, got ${kindOf(given.shape)}`);
  return tensor as NamedTensor;
}

/** The classes of array that hold the dtype's values, its own first; undefined for a dtype that there is not. */
function arraysOf(dtype: string): readonly string[] | undefined {
  const known = DTYPES.get(dtype);
  return BITS_OF[dtype] ?? (known && (known.array === Uint8Array && dtype !== "U8" ? [] : [known.array.name]));
}

function insteadOf(data: unknown): string {
  if (Array.isArray(data)) return "; pass a typed array of its values, such as Float32Array.from(data)";
  const isBuffer = data instanceof ArrayBuffer || data instanceof SharedArrayBuffer;
  return isBuffer ? "; pass a view of it, such as new Uint8Array(data)" : "";
}

/** A value that is none of those expected, for a message. */
function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value === "object") return withArticle(value.constructor?.name ?? "object");
  return typeof value === "string" ? quoted(value) : `${typeof value} ${String(value)}`;
}

function withArticle(name: string): string {
  return `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;
}

function config(message: string): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", message);
}
