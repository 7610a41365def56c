import { describe, expect, it } from "vitest";
import { chooseShards, formatByName, inferFormat } from "../../../src/formats/infer.js";
import { failure } from "./memory-reader.js";

describe("inferFormat", () => {
  it.each([
    ["tfrecord", ["train/a.tfrecord", "train/b.tfrecord.gz", "train-00001-of-00042", "x.tfrec"]],
    ["webdataset", ["a.tar", "b.tgz", "c.tar.gz"]],
    ["files", ["cat/1.jpg", "dog/2.PNG", "x.wav", "y", "_DSC0001.jpg"]],
    ["files", ["pos/1.txt", "neg/2.txt", "README.md"]],
    ["files", ["a.json"]],
    ["tfrecord", ["dataset_info.json", "features.json", "label.labels.txt", "d-train.tfrecord-00000-of-00001"]],
    ["webdataset", ["a.tar", "a.idx", "a.tar.index", "_SUCCESS", "_index.json", "README", "license.txt", ".DS_Store", "folder/"]],
    ["files", ["home/.cache/a.jpg"]],
  ])("%s: %j", (name, paths) => expect(inferFormat(paths).name).toBe(name));

  it("gives an example of each where formats are mixed, and says how to choose", async () => {
    const error = await failure(() => inferFormat(["x/a.tar", "x/b.tfrecord", "x/c.tar", "x/d.jpg"]));
    expect(error.code).toBe("MILLRACE_FORMAT");
    expect(error.message).toBe(
      'The dataset mixes webdataset (a.tar) and tfrecord (b.tfrecord) and files (d.jpg): set format to "webdataset" or "tfrecord" or "files", or name a narrower prefix or pattern',
    );
  });

  it.each([[[]], [["_SUCCESS", ".hidden", "a.idx", "folder/", "README.md"]]])("%j is an empty dataset", async (paths) => {
    expect((await failure(() => inferFormat(paths))).code).toBe("MILLRACE_NOT_FOUND");
  });

  it.each(["x.parquet", "a.tar.zst", "shard.00000.mds", "a.jsonl", "data.mdb"])(
    "%s is refused rather than handed out whole",
    async (path) => {
      const error = await failure(() => inferFormat(["a.tar", path]));
      expect(error.code).toBe("MILLRACE_FORMAT");
      expect(error.message).toContain(path);
    },
  );
});

describe("formatByName", () => {
  it.each(["tfrecord", "webdataset", "files"])("%s", (name) => expect(formatByName(name).name).toBe(name));
  it("lists the names for one that is none", async () => {
    const error = await failure(() => formatByName("tfrecords"));
    expect(error.code).toBe("MILLRACE_CONFIG");
    expect(error.message).toBe('format: "tfrecords" is not a format; expected one of "tfrecord", "webdataset", "files"');
  });
});

describe("chooseShards", () => {
  const choose = (paths: string[], name?: string) => {
    const { format, shards } = chooseShards(paths, (path) => path, name);
    return [format.name, ...shards];
  };
  it("leaves out what lies beside the shards", () => {
    expect(choose(["a.tar", "a.idx", "info.json", "b.tar"])).toEqual(["webdataset", "a.tar", "b.tar"]);
    expect(choose(["b/1.jpg", "_SUCCESS", "a/2.jpg"])).toEqual(["files", "b/1.jpg", "a/2.jpg"]);
  });
  it("takes what matches a named format, or all data where nothing does", () => {
    expect(choose(["a.tar", "b.tfrecord", "c.jpg"], "tfrecord")).toEqual(["tfrecord", "b.tfrecord"]);
    expect(choose(["part-0.bin", "part-1.bin", "_SUCCESS"], "tfrecord")).toEqual(["tfrecord", "part-0.bin", "part-1.bin"]);
    expect(choose(["a.tar", "x.parquet", ".hidden"], "files")).toEqual(["files", "a.tar", "x.parquet"]);
  });
  it("says that nothing is left", async () => {
    expect((await failure(() => choose(["_SUCCESS"], "files"))).code).toBe("MILLRACE_NOT_FOUND");
  });
});
