import { defineConfig } from "vitest/config";
import base from "../../vitest.config.js";

/** Tests against a real S3 server: `vitest run --config test/s3/vitest.config.ts`. */
export default defineConfig({
  root: new URL("../..", import.meta.url).pathname,
  ...(base.resolve === undefined ? {} : { resolve: base.resolve }),
  test: {
    include: ["test/s3/**/*.test.ts"],
    globalSetup: ["test/s3/global-setup.ts"],
    pool: "forks",
    // Two cores run the cluster beside the tests.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
