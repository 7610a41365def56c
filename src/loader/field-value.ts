/**
 * One field's value in one sample, made to fit its declaration. Values come from a record, where bytes may stand for numbers
 * (digits for a scalar, little-endian elements for a shape), or from a decoder, where a typed array is its elements.
 */
import { copyBytes, ownBytes } from "../util/copy-bytes.js";
import { ARRAYS, type ElementMemory, elementMemory, parseDigits, parseNumber, writeElements } from "./elements.js";
import { type FieldPlan, misfit } from "./fit.js";

export type ValueSource = "record" | "decoder";

/** Elements of one row: a list of numbers, or the little-endian bytes of it. Good until those of the next row are asked for. */
export type Elements = ArrayLike<number | bigint>;
/** The elements of a scalar: one list for all, since labels come a sample. */
const scalar: (number | bigint)[] = [0];

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** The elements that a value stands for: raw bytes where `areRawBytes` says so, else numbers. Throws MILLRACE_FORMAT. */
export function elementsOf(plan: FieldPlan, value: unknown, source: ValueSource): Elements {
  if (typeof value === "number" || typeof value === "bigint") return scalarOf(value);
  if (source === "record" && plan.shape.length === 0) {
    if (typeof value === "string") return scalarOf(digits(plan, value));
    if (value instanceof Uint8Array) return scalarOf(parseDigits(value) ?? digits(plan, latin1(value)));
  }
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return value as unknown as Elements;
  if (Array.isArray(value) && !(value[0] instanceof Uint8Array)) return value as Elements;
  throw misfit(plan, `found ${describe(value)}, which holds no numbers`);
}

function scalarOf(value: number | bigint): Elements {
  scalar[0] = value;
  return scalar;
}

/** True where elements are raw little-endian bytes of the field's dtype. */
export function areRawBytes(elements: Elements, source: ValueSource): elements is Uint8Array {
  return source === "record" && elements instanceof Uint8Array;
}

/** How many elements of the field's dtype there are. Throws MILLRACE_FORMAT where bytes are no whole number of them. */
export function countOf(plan: FieldPlan, elements: Elements, source: ValueSource): number {
  if (!areRawBytes(elements, source)) return elements.length;
  const width = ARRAYS[plan.dtype].BYTES_PER_ELEMENT;
  if (elements.length % width !== 0)
    throw misfit(plan, `${elements.length} bytes are no whole number of ${plan.dtype} elements of ${width} bytes`);
  return elements.length / width;
}

/** Copies elements to where they stay. Throws MILLRACE_FORMAT where one does not fit. */
export function copyElements(plan: FieldPlan, elements: Elements, source: ValueSource, target: ElementMemory, at: number): void {
  if (areRawBytes(elements, source)) {
    // Node runs on little-endian machines but for s390x, which is not supported.
    copyBytes(target.bytes, at * target.array.BYTES_PER_ELEMENT, elements);
    return;
  }
  const failed = writeElements(elements, plan.dtype, target.array, at);
  if (failed >= 0) throw misfit(plan, `element ${failed} is ${String(elements[failed])}, which does not fit ${plan.dtype}`);
}

/** Checks the number of elements against the shape. Throws MILLRACE_FORMAT. */
export function checkCount(plan: FieldPlan, count: number): void {
  if (plan.kind === "tensor" ? count === plan.unit : count % plan.unit === 0) return;
  const need = plan.kind === "tensor" ? `needs ${plan.unit}` : `needs a multiple of ${plan.unit}`;
  throw misfit(plan, `found ${count} elements where the shape ${need}`);
}

/** Throws MILLRACE_FORMAT where the value is no bytes. */
export function bytesOf(plan: FieldPlan, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return encoder.encode(value);
  throw misfit(plan, `found ${describe(value)} where bytes are declared`);
}

/** Text or parsed JSON. Throws MILLRACE_FORMAT. */
export function textOrJson(plan: FieldPlan, value: unknown, source: ValueSource): unknown {
  if (plan.kind === "json" && source === "decoder") return value;
  const text = value instanceof Uint8Array ? decodeText(plan, value) : value;
  if (plan.kind === "utf8") {
    if (typeof text === "string") return text;
    throw misfit(plan, `found ${describe(value)} where text is declared`);
  }
  if (typeof text !== "string") return ownValue(value);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw misfit(plan, `the text is no JSON: ${(cause as Error).message}`);
  }
}

/** What is no text: numbers and bytes of a tf.train.Example, whose memory is the next record's too. */
function ownValue(value: unknown): unknown {
  if (value instanceof Uint8Array) return ownBytes(value);
  if (ArrayBuffer.isView(value)) return (value as Float64Array).slice();
  return Array.isArray(value) ? value.map(ownValue) : value;
}

/** A whole field of a sample in memory of its own, as a decoder gets it. `undefined`: the optional field is missing. Throws MILLRACE_FORMAT. */
export function sampleValue(plan: FieldPlan, value: unknown): unknown {
  if (plan.kind === "utf8" || plan.kind === "json") return textOrJson(plan, value, "record");
  if (plan.kind === "bytes") return ownBytes(bytesOf(plan, value));
  if (value === undefined) return new ARRAYS[plan.dtype](plan.kind === "tensor" ? plan.unit : 0);
  const elements = elementsOf(plan, value, "record");
  const count = countOf(plan, elements, "record");
  checkCount(plan, count);
  const target = elementMemory(new ARRAYS[plan.dtype](count));
  copyElements(plan, elements, "record", target, 0);
  return plan.bare ? target.array[0] : target.array;
}

function digits(plan: FieldPlan, text: string): number | bigint {
  const number = parseNumber(text, plan.dtype);
  if (number !== undefined) return number;
  const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
  throw misfit(plan, `the text ${shown} is no ${plan.dtype}; for raw little-endian bytes declare a shape, such as [1]`);
}

/** Longer texts are no numbers. */
const MOST_DIGITS = 64;

function latin1(bytes: Uint8Array): string {
  return `${String.fromCharCode(...bytes.subarray(0, MOST_DIGITS))}${bytes.length > MOST_DIGITS ? "…" : ""}`;
}

function decodeText(plan: FieldPlan, bytes: Uint8Array): string {
  try {
    // TextDecoder takes no shared memory: a copy first.
    return utf8.decode(bytes.buffer instanceof SharedArrayBuffer ? bytes.slice() : bytes);
  } catch (cause) {
    throw misfit(plan, `the bytes are no UTF-8 text: ${(cause as Error).message}`);
  }
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return value[0] instanceof Uint8Array ? `a list of ${value.length} byte strings` : `a list of ${value.length}`;
  if (typeof value === "object") return `a ${value.constructor?.name ?? "object"}`;
  return `a ${typeof value}`;
}
