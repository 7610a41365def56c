/** The rooms of src/: down this list imports up it, never back. docs/architecture.md has the same list. A room is a folder, or files at the root. */
export const ROOMS: readonly (readonly string[])[] = [
  ["errors.ts", "api.ts"],
  ["util"],
  ["options.ts", "diagnostics.ts"],
  ["storage"],
  ["testing"],
  ["blocks"],
  ["cache"],
  ["readahead"],
  ["formats"],
  ["order"],
  ["loader"],
  ["engine"],
  ["adapters"],
  ["mill.ts"],
  ["open.ts"],
  ["index.ts"],
];
