import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: [
      { find: /^millrace$/, replacement: new URL("./src/index.ts", import.meta.url).pathname },
      { find: /^millrace\/(tfjs|onnx|decode)$/, replacement: new URL("./src/adapters/$1.ts", import.meta.url).pathname },
      { find: /^millrace\/testing$/, replacement: new URL("./src/testing/index.ts", import.meta.url).pathname },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/s3/**", "node_modules/**"],
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 30_000,
    coverage: { provider: "v8", include: ["src/**/*.ts"], thresholds: { lines: 90 } },
  },
});
