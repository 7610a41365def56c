/**
 * Models of TensorFlow.js through the mill: `model.json` and the weight files beside it, as `tf.loadLayersModel`,
 * `tf.loadGraphModel` and `model.save` take and give them. The format: tfjs-core, io/types.ts (ModelJSON).
 */
import { createHash } from "node:crypto";
import type { Millrace } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { beside } from "./beside.js";

/** Bytes of an element, by the dtype that the weight files hold. Strings have no fixed length. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = { float32: 4, int32: 4, bool: 1, complex64: 8, float16: 2, uint16: 2, uint8: 1 };
/** Of the digest in a weight file's name: 64 bits, so that two versions of a model do not meet in one name. */
const DIGEST_DIGITS = 16;

/** `tf.io.WeightsManifestEntry`. */
export interface ModelWeight {
  name: string;
  shape: number[];
  dtype: "float32" | "int32" | "bool" | "string" | "complex64";
  group?: "model" | "optimizer";
  quantization?: { scale?: number; min?: number; dtype: "uint16" | "uint8" | "float16" };
}
/** `tf.io.TrainingConfig`. */
export interface ModelTraining {
  optimizer_config: object;
  loss: string | string[] | { [key: string]: string };
  metrics?: string[] | { [key: string]: string };
  weighted_metrics?: string[];
  sample_weight_mode?: string;
  loss_weights?: number[] | { [key: string]: number };
}
/** `tf.io.ModelArtifacts`, without weights as a stream. */
export interface ModelArtifacts {
  modelTopology?: object;
  trainingConfig?: ModelTraining;
  weightSpecs?: ModelWeight[];
  /** The weights in the order of `weightSpecs`: one buffer, or several that follow each other. */
  weightData?: ArrayBuffer | ArrayBuffer[];
  format?: string;
  generatedBy?: string;
  convertedBy?: string | null;
  signature?: object;
  userDefinedMetadata?: { [key: string]: object };
  modelInitializer?: object;
  initializerSignature?: object;
}
/** What `model.save` resolves to. */
export interface ModelSaved {
  modelArtifactsInfo: {
    dateSaved: Date;
    modelTopologyType: "JSON";
    modelTopologyBytes: number;
    weightSpecsBytes: number;
    weightDataBytes: number;
  };
}
/** A `tf.io.IOHandler` that both loads and saves. */
export interface ModelHandler {
  load(): Promise<ModelArtifacts>;
  save(artifacts: ModelArtifacts): Promise<ModelSaved>;
}

interface WeightGroup {
  readonly paths: readonly string[];
  readonly weights: readonly ModelWeight[];
}

/**
 * For `tf.loadLayersModel(handler)`, `tf.loadGraphModel(handler)` and `model.save(handler)`. `path` is that of the model's JSON
 * (`/models/digits/model.json`); weight files lie beside it or below.
 *
 * Loading reads all weight files at once, through the cache, and hands their bytes over without a copy. Saving writes the weights to one file named by what is in it (`model.weights-<digest>.bin`), and
 * the JSON last: whoever loads meanwhile has the old model or the new one. An older version's weights are left where they are.
 *
 * `load` throws what `mill.readFile` throws (MILLRACE_NOT_FOUND names the missing file), and MILLRACE_FORMAT where the JSON is no
 * model's, a weight file is outside the model's folder, or the files are shorter or longer than their weights. `save` throws what
 * `mill.writeFile` throws, and MILLRACE_CONFIG for a topology in binary form. Both throw MILLRACE_ABORTED once `signal` fires.
 */
export function ioHandler(
  mill: Pick<Millrace, "readFile" | "writeFile">,
  path: string,
  options: { signal?: AbortSignal | undefined } = {},
): ModelHandler {
  const readWeights = async (model: string, name: string) => {
    const file = beside(model, name);
    return mill.readFile(file, options).catch((cause) => {
      if (!isMillraceError(cause, "MILLRACE_NOT_FOUND")) throw cause;
      throw new MillraceError("MILLRACE_NOT_FOUND", `${model}: its weight file ${file} is not there`, { cause });
    });
  };
  return {
    async load() {
      const { weightsManifest, ...artifacts } = parseModel(path, await mill.readFile(path, options));
      if (weightsManifest === undefined) return artifacts;
      const files = await Promise.all(weightsManifest.map((group) => Promise.all(group.paths.map((name) => readWeights(path, name)))));
      weightsManifest.forEach((group, i) => {
        checkLength(path, group, files[i]!);
      });
      const weightSpecs = weightsManifest.flatMap(({ weights }) => weights);
      // TensorFlow.js finds its place in a list of buffers by their length, which must not be 0.
      const buffers = files.flat().flatMap((bytes) => (bytes.byteLength > 0 ? [ownBuffer(bytes)] : []));
      // Older releases know one buffer only.
      return { ...artifacts, weightSpecs, weightData: buffers.length === 1 ? buffers[0]! : buffers };
    },

    async save({ weightSpecs = [], weightData = [], ...model }) {
      if (model.modelTopology instanceof ArrayBuffer)
        throw new MillraceError("MILLRACE_CONFIG", `${path}: a model topology in binary form cannot be saved; save it as JSON`);
      const weights = [weightData].flat().map((buffer) => new Uint8Array(buffer));
      const name = `${stemOf(path)}.weights-${digestOf(weights)}.bin`;
      await mill.writeFile(beside(path, name), inOrder(weights), options);
      const weightsManifest: WeightGroup[] = [{ paths: [name], weights: weightSpecs }];
      await mill.writeFile(path, JSON.stringify({ ...model, weightsManifest }), options);
      return {
        modelArtifactsInfo: {
          dateSaved: new Date(),
          modelTopologyType: "JSON",
          modelTopologyBytes: jsonBytes(model.modelTopology),
          weightSpecsBytes: jsonBytes(weightSpecs),
          weightDataBytes: weights.reduce((sum, { byteLength }) => sum + byteLength, 0),
        },
      };
    },
  };
}

function parseModel(path: string, bytes: Uint8Array): ModelArtifacts & { weightsManifest?: WeightGroup[] } {
  let model: { modelTopology?: unknown; weightsManifest?: unknown } | null;
  try {
    model = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError("MILLRACE_FORMAT", `${path}: not a model's JSON: ${(cause as Error).message}`, { cause });
  }
  if (model?.modelTopology == null && model?.weightsManifest == null)
    throw new MillraceError("MILLRACE_FORMAT", `${path}: has neither "modelTopology" nor "weightsManifest": not a model of TensorFlow.js`);
  if (model.weightsManifest !== undefined && !isManifest(model.weightsManifest))
    throw new MillraceError("MILLRACE_FORMAT", `${path}: "weightsManifest" is not a list of groups of paths and weights`);
  return model as ModelArtifacts & { weightsManifest?: WeightGroup[] };
}

function isManifest(value: unknown): value is WeightGroup[] {
  return (
    Array.isArray(value) &&
    value.every(
      (group: Partial<WeightGroup> | null) =>
        Array.isArray(group?.paths) &&
        group.paths.every((name) => typeof name === "string") &&
        Array.isArray(group.weights) &&
        group.weights.every((weight) => Array.isArray(weight?.shape)),
    )
  );
}

/** Without it a file that was cut off would give weights that are wrong, or an error that names no file. */
function checkLength(path: string, { paths, weights }: WeightGroup, files: readonly Uint8Array[]): void {
  const held = files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let wanted = 0;
  for (const { dtype, shape, quantization } of weights) {
    const elementBytes = ELEMENT_BYTES[quantization?.dtype ?? dtype];
    if (elementBytes === undefined) return;
    wanted += shape.reduce((product, length) => product * length, elementBytes);
  }
  if (held !== wanted)
    throw new MillraceError("MILLRACE_FORMAT", `${path}: its weights take ${wanted} bytes, and ${paths.join(", ")} hold ${held}`);
}

function ownBuffer({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): ArrayBuffer {
  return byteLength === buffer.byteLength ? buffer : buffer.slice(byteOffset, byteOffset + byteLength);
}

function stemOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.json$/, "");
}

function digestOf(parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex").slice(0, DIGEST_DIGITS);
}

async function* inOrder(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

function jsonBytes(value: unknown): number {
  return value === undefined ? 0 : Buffer.byteLength(JSON.stringify(value));
}
