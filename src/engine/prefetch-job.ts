/** A prefetch on the caller's side: steers and watches what the engine does. */
import type { Millrace, PrefetchJob, PrefetchOptions, PrefetchReport, Progress } from "../api.js";
import { MillraceError } from "../errors.js";
import { DatasetLoader } from "../loader/loader.js";
import type { EngineClient } from "../loader/protocol.js";
import { combinedSignal } from "../util/combined-signal.js";
import type { CallOptions } from "./rpc.js";

type Source = Parameters<Millrace["prefetch"]>[0];
type Call = (method: string, args: unknown, options?: CallOptions) => Promise<unknown>;

/** Starts the job. Throws MILLRACE_CONFIG for arguments that do not fit; `engine` is the mill's own, whose loaders it takes. */
export function startPrefetch(id: number, source: Source, options: PrefetchOptions, engine: EngineClient, call: Call): PrefetchJob {
  const resolve = checkSource(source, engine);
  const { priority = 0, scope = "process" } = options;
  if (scope !== "process" && scope !== "cluster")
    throw new MillraceError("MILLRACE_CONFIG", `prefetch: scope: expected "process" or "cluster", got ${JSON.stringify(scope)}`);
  if (!Number.isFinite(priority)) throw new MillraceError("MILLRACE_CONFIG", `prefetch: priority: expected a number, got ${priority}`);
  const cancel = new AbortController();
  const signal = options.signal === undefined ? cancel.signal : combinedSignal(options.signal, cancel.signal);
  let progress: Progress = { bytes: 0, totalBytes: 0, objects: 0, totalObjects: 0, bytesPerSecond: 0, etaSeconds: 0 };
  const onProgress = (now: Progress) => {
    progress = now;
    return options.onProgress?.(now);
  };
  let paused = false;
  let sent = false;
  const done = resolve().then((resolved) => {
    sent = true;
    return call("prefetch", { id, source: resolved, priority, paused, scope }, { signal, onProgress });
  }) as Promise<PrefetchReport>;
  done.catch(() => {}); // A job that nobody waits for may be cancelled in peace.
  const steer = (pause: boolean) => {
    paused = pause;
    // Before the job is sent, its request says whether it begins paused.
    if (sent) call("steerPrefetch", { id, pause }).catch(() => {});
  };
  return {
    get progress() {
      return progress;
    },
    done,
    pause: () => steer(true),
    resume: () => steer(false),
    cancel: () => cancel.abort(),
  };
}

/** What the engine is to be asked, once that is known. */
function checkSource(source: Source, engine: EngineClient): () => Promise<unknown> {
  if (typeof source === "string") return async () => source;
  if (typeof source !== "object" || source === null) throw badSource("source: expected a path, a list of paths or { loader, epoch }");
  if (!("loader" in source)) {
    const bad = source.findIndex((path) => typeof path !== "string");
    if (source.length === 0) throw badSource("source: an empty list names no data");
    if (bad >= 0) throw badSource(`source[${bad}]: expected a path, got ${typeof source[bad]}`);
    return async () => source;
  }
  const { loader, epoch, steps } = source;
  if (!(loader instanceof DatasetLoader) || !loader.isOf(engine)) throw badSource("loader: expected a loader of this mill");
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw badSource(`epoch: expected a number from 0, got ${epoch}`);
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps > 0)) throw badSource(`steps: expected a number from 1, got ${steps}`);
  return async () => ({ loaderId: await loader.engineId(), epoch, steps });
}

function badSource(message: string): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", `prefetch: ${message}`);
}
