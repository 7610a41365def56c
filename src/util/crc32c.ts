import { createRequire } from "node:module";

/**
 * CRC-32C of bytes, going on from another one where that is given. By `require`: an `import` of CommonJS starts Node's lexer for it, in
 * WebAssembly, and costs each thread 2.6 MB.
 */
export const crc32c: typeof import("@node-rs/crc32").crc32c = createRequire(import.meta.url)("@node-rs/crc32").crc32c;
