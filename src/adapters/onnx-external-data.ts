/**
 * Which files an ONNX model keeps tensors in, read from the model's protobuf.
 * Field numbers: onnx.proto3 of https://github.com/onnx/onnx (ModelProto and what hangs off it).
 */
import { MillraceError } from "../errors.js";

type Kind = "model" | "graph" | "node" | "attribute" | "sparseTensor" | "function" | "tensor" | "entry";
/** The fields that can lead to a tensor, by message and field number; every other field is passed over. */
const CHILDREN: Readonly<Record<Kind, Readonly<Record<number, Kind>>>> = {
  model: { 7: "graph", 25: "function" },
  graph: { 1: "node", 5: "tensor", 15: "sparseTensor" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparseTensor", 23: "sparseTensor" },
  sparseTensor: { 1: "tensor", 2: "tensor" },
  function: { 7: "node" },
  tensor: { 13: "entry" },
  entry: {},
};
const LENGTH_DELIMITED = 2;

/**
 * Names of the external data files, each once, relative to the model's folder, as the model spells them.
 * Throws MILLRACE_FORMAT where the bytes are no protobuf message.
 */
export function externalDataNames(model: Uint8Array): string[] {
  const names = new Set<string>();
  walk(model, "model", names);
  return [...names];
}

function walk(message: Uint8Array, kind: Kind, names: Set<string>): void {
  const strings: string[] = [];
  for (const [field, body] of fields(message)) {
    if (kind === "entry") strings[field] = new TextDecoder().decode(body);
    const child = CHILDREN[kind][field];
    if (child !== undefined) walk(body, child, names);
  }
  // StringStringEntryProto: key = 1, value = 2.
  if (kind === "entry" && strings[1] === "location" && strings[2] !== undefined) names.add(strings[2]);
}

/** The length-delimited fields of a message: number and bytes, in order. */
function* fields(message: Uint8Array): Generator<[field: number, body: Uint8Array]> {
  let at = 0;
  function varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined || scale > 2 ** 63) throw notOnnx();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
  while (at < message.length) {
    const tag = varint();
    const wireType = tag % 8;
    const length = wireType === LENGTH_DELIMITED ? varint() : wireType === 1 ? 8 : wireType === 5 ? 4 : 0;
    if (wireType === 0) varint();
    else if (length === 0 && wireType !== LENGTH_DELIMITED) throw notOnnx();
    if (at + length > message.length) throw notOnnx();
    if (wireType === LENGTH_DELIMITED) yield [Math.floor(tag / 8), message.subarray(at, at + length)];
    at += length;
  }
}

function notOnnx(): MillraceError {
  return new MillraceError("MILLRACE_FORMAT", "The file is not an ONNX model: its protobuf ends or breaks off in the middle of a field");
}
