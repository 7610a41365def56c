/** Worker threads from TypeScript modules: tsx does not follow into threads on Node 20. */
import { Worker, type WorkerOptions } from "node:worker_threads";

/** A worker that runs the module. */
export function tsWorker(module: URL, options: Omit<WorkerOptions, "eval">): Worker {
  const boot = `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))})
  .then(({ tsImport }) => tsImport(${JSON.stringify(module.href)}, ${JSON.stringify(import.meta.url)}));`;
  return new Worker(boot, { ...options, eval: true });
}
