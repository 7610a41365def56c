import { afterEach, describe, expect, test, vi } from "vitest";
import type { LoaderOptions, LoaderState } from "../../../src/api.js";
import { checkDatasetOptions, loaderConfig } from "../../../src/loader/loader-options.js";
import { DEFAULTS } from "../../../src/options.js";
import { refusal } from "../../support/refusal.js";

const MIB = 2 ** 20;
const refusedLoader = (options: object) => refusal(() => loaderConfig({ batchSize: 1, ...options } as LoaderOptions));

describe("loaderConfig", () => {
  afterEach(() => vi.unstubAllEnvs());
  const state: LoaderState = { version: 1, fingerprint: "f", order: "o", epoch: 2, position: 30 };

  test("without more than a batch size: the defaults", () => {
    expect(loaderConfig({ batchSize: 8 })).toEqual({
      batchSize: 8,
      shuffle: false,
      rank: 0,
      worldSize: 1,
      lanes: DEFAULTS.lanes,
      remainder: "keep",
      stepsPerEpoch: undefined,
      onError: "throw",
      workers: "auto",
      decodeTimeoutMs: DEFAULTS.decodeTimeoutMs,
      readAhead: "auto",
      recycle: false,
    });
  });

  test("every option, in numbers", () => {
    const config = loaderConfig({
      batchSize: 8,
      shuffle: { seed: -3, mode: "global", window: "64MiB" },
      rank: 1,
      worldSize: 4,
      lanes: 12,
      remainder: "pad",
      resume: state,
      stepsPerEpoch: 10,
      onError: "skip",
      workers: 0,
      decodeTimeout: "2s",
      readAhead: "8MiB",
      recycle: true,
      signal: new AbortController().signal,
    });
    expect(config).toEqual({
      batchSize: 8,
      shuffle: { seed: -3, mode: "global", windowBytes: 64 * MIB },
      rank: 1,
      worldSize: 4,
      lanes: 12,
      remainder: "pad",
      stepsPerEpoch: 10,
      onError: "skip",
      workers: 0,
      decodeTimeoutMs: 2000,
      readAhead: 8 * MIB,
      recycle: true,
    });
    structuredClone(config);
  });

  test("a shuffle is by windows of the default size; several processes drop what is left over", () => {
    expect(loaderConfig({ batchSize: 1, shuffle: { seed: 1 } }).shuffle).toEqual({
      seed: 1,
      mode: "window",
      windowBytes: DEFAULTS.windowBytes,
    });
    expect(loaderConfig({ batchSize: 1, shuffle: false, readAhead: "auto" })).toMatchObject({ shuffle: false, readAhead: "auto" });
    expect(loaderConfig({ batchSize: 1, worldSize: 2 }).remainder).toBe("drop");
  });

  test.each<[string, object, string]>([
    ["an unknown option", { batchsize: 1 }, "batchsize: no such option"],
    ["batchSize", { batchSize: 0 }, "batchSize: "],
    ["batchSize that is no integer", { batchSize: 1.5 }, "batchSize: "],
    ["batchSize that is missing", { batchSize: undefined }, "batchSize: "],
    ["shuffle", { shuffle: true }, "shuffle: "],
    ["shuffle without seed", { shuffle: {} }, "shuffle.seed: "],
    ["shuffle.seed", { shuffle: { seed: 0.5 } }, "shuffle.seed: "],
    ["shuffle.mode", { shuffle: { seed: 1, mode: "chunk" } }, "shuffle.mode: "],
    ["shuffle.window", { shuffle: { seed: 1, window: "wide" } }, "shuffle.window: expected bytes"],
    ["an unknown option of shuffle", { shuffle: { seed: 1, sed: 2 } }, "shuffle.sed: no such option"],
    ["rank", { rank: -1 }, "rank: "],
    ["rank of the wrong kind", { rank: "1" }, "rank: "],
    ["rank beyond worldSize", { rank: 2, worldSize: 2 }, "rank: 2 is not below worldSize 2"],
    ["worldSize", { worldSize: 0 }, "worldSize: "],
    ["lanes", { lanes: 0 }, "lanes: "],
    ["remainder", { remainder: "round" }, "remainder: "],
    ["a state of another version", { resume: { ...state, version: 2 } }, "resume.version: "],
    ["an incomplete state", { resume: { ...state, position: undefined } }, "resume.position: "],
    ["a state with more in it", { resume: { ...state, rank: 1 } }, "resume.rank: no such option"],
    ["stepsPerEpoch", { stepsPerEpoch: 0 }, "stepsPerEpoch: "],
    ["onError", { onError: "ignore" }, "onError: "],
    ["workers", { workers: -1 }, "workers: "],
    ["decodeTimeout", { decodeTimeout: "never" }, "decodeTimeout: expected milliseconds"],
    ["readAhead", { readAhead: "far" }, "readAhead: expected bytes"],
    ["recycle", { recycle: "yes" }, "recycle: "],
    ["signal", { signal: {} }, "signal: "],
    ["decode", { decode: () => {} }, "decode: expected what defineDecoder returns"],
  ])("refuses %s by its name", (_, options, message) => {
    expect(refusedLoader(options).startsWith(message)).toBe(true);
  });

  test.each([
    ["torchrun", { RANK: "3", WORLD_SIZE: "8" }],
    ["Open MPI", { OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "8" }],
    ["Slurm", { SLURM_PROCID: "3", SLURM_NTASKS: "8" }],
    ["PMI", { PMI_RANK: "3", PMI_SIZE: "8" }],
  ])("takes ranks from the environment of %s", (_, variables) => {
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    expect(loaderConfig({ batchSize: 1, rank: "env", worldSize: "env" })).toMatchObject({ rank: 3, worldSize: 8, remainder: "drop" });
  });

  test("an environment without ranks, or with a rank that is no number, is refused", () => {
    expect(refusedLoader({ rank: "env", worldSize: 2 })).toMatch(/^rank: "env" needs one of RANK, /);
    expect(refusedLoader({ worldSize: "env" })).toMatch(/^worldSize: "env" needs one of WORLD_SIZE, /);
    vi.stubEnv("RANK", "first");
    expect(refusedLoader({ rank: "env", worldSize: 2 })).toBe("rank: RANK=first is not a number");
    vi.stubEnv("RANK", "");
    expect(refusedLoader({ rank: "env", worldSize: 2 })).toBe("rank: RANK= is not a number");
    vi.stubEnv("WORLD_SIZE", "0");
    expect(refusedLoader({ worldSize: "env" })).toMatch(/^worldSize: /);
  });
});

describe("checkDatasetOptions", () => {
  test("takes what mill.dataset takes", () => {
    checkDatasetOptions({});
    checkDatasetOptions({
      format: "files",
      fields: { bytes: "bytes" },
      classes: ["a"],
      onError: "skip",
      signal: new AbortController().signal,
      onProgress: () => {},
    });
  });
  test.each<[string, object, string]>([
    ["an unknown option", { field: {} }, "field: no such option"],
    ["format", { format: 7 }, "format: "],
    ["fields", { fields: ["a"] }, "fields: "],
    ["classes", { classes: "a" }, "classes: "],
    ["classes of the wrong kind", { classes: [7] }, "classes[0]: "],
    ["onError", { onError: "ignore" }, "onError: "],
    ["signal", { signal: {} }, "signal: "],
    ["onProgress", { onProgress: 7 }, "onProgress: "],
  ])("refuses %s by its name", (_, options, message) => {
    expect(refusal(() => checkDatasetOptions(options)).startsWith(message)).toBe(true);
  });
});
