/**
 * Writes a small ONNX model, so that the example needs no download: the mean of each colour plane, a linear layer, softmax.
 *
 *   image [rows, 3, height, width] ─► GlobalAveragePool ─► Flatten ─► Gemm(weights, bias) ─► Softmax ─► scores [rows, classes]
 *
 * Field numbers: onnx.proto3 of https://github.com/onnx/onnx.
 */
import { message } from "../support/protobuf.js";

const FLOAT = 1;

export function colourModel(weights: readonly (readonly number[])[], bias: readonly number[]): Uint8Array {
  const classes = bias.length;
  const graph = message(
    [1, node("GlobalAveragePool", ["image"], "means")],
    [1, node("Flatten", ["means"], "flat")],
    [1, node("Gemm", ["flat", "weights", "bias"], "logits")],
    [1, node("Softmax", ["logits"], "scores")],
    [2, "colour"],
    [5, initializer("weights", [3, classes], weights.flat())],
    [5, initializer("bias", [classes], bias)],
    [11, valueInfo("image", ["rows", 3, "height", "width"])],
    [12, valueInfo("scores", ["rows", classes])],
  );
  return message([1, 8], [7, graph], [8, message([1, ""], [2, 13])]);
}

export function node(type: string, inputs: readonly string[], output: string): Uint8Array {
  return message(...inputs.map((name) => [1, name] as const), [2, output], [4, type]);
}

function initializer(name: string, dims: readonly number[], values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return message(...dims.map((size) => [1, size] as const), [2, FLOAT], [8, name], [9, bytes]);
}

/** A dimension is a number, or a name where every run may have another. */
export function valueInfo(name: string, dims: readonly (number | string)[]): Uint8Array {
  const shape = message(...dims.map((dim) => [1, typeof dim === "number" ? message([1, dim]) : message([2, dim])] as const));
  return message([1, name], [2, message([1, message([1, FLOAT], [2, shape])])]);
}
