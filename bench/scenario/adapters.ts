/**
 * What it costs the main thread to make a batch into tensors, without the batch itself: by the adapters, and by hand from the same memory.
 * TensorFlow.js knows no uint8, so that such a batch is copied into int32, by the adapter as by tf.tensor itself. All else is handed over as it is.
 */
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { TensorsParameters } from "../subject/tensors.js";

const FULL_BATCH = 256;
const SMOKE_BATCH = 4;
const SHAPE = [224, 224, 3];
/** One copies 154 MB, the other takes microseconds. */
const TIMES = { tfjs: 4, onnx: 4_000 };
const WAYS: readonly TensorsParameters["way"][] = ["millrace/tfjs", "tf.tensor", "millrace/onnx", "ort.Tensor"];

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const batchSize = smoke ? SMOKE_BATCH : FULL_BATCH;
  const subjects = WAYS.map((way): Subject => {
    const times = smoke ? 2 : TIMES[way.includes("tf") ? "tfjs" : "onnx"];
    const parameters: TensorsParameters = { way, batchSize, shape: SHAPE, times };
    return {
      name: way,
      script: new URL("../subject/tensors.ts", import.meta.url),
      parameters: { ...parameters },
      expected: { elements: SHAPE.reduce((product, size) => product * size, batchSize), firstElements: (batchSize * (batchSize - 1)) / 2 },
    };
  });
  return { subjects, close: async () => {} };
}

export const scenario: Scenario = {
  name: "adapters",
  title: `Batches of ${FULL_BATCH} × ${SHAPE.join(" × ")} to tensors, on the main thread`,
  rounds: 2,
  columns: [
    { figure: "wallMs", title: "ms a batch", digits: 4 },
    { figure: "cpuMs", title: "CPU ms a batch", digits: 4 },
  ],
  bars: [],
  prepare,
};
