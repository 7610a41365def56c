export * from "./make.js";
export * from "./tar.js";
export * from "./tfrecord.js";
