export type * from "./api.js";
export { MillraceError, type MillraceErrorCode, type MillraceErrorDetails } from "./errors.js";
export { defineDecoder } from "./loader/define-decoder.js";
export { openDataset, openMillrace } from "./open.js";
export type { ListOptions, ReadOptions, ReadProgress, Store, StoredObject, WriteOptions } from "./storage/store.js";
