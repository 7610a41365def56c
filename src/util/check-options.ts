/** Options against their schemas: what does not fit is named as the caller wrote it. */
import { MillraceError } from "../errors.js";

/** What zod says of a value that does not fit. */
interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** Those that the schema does not know. */
  readonly keys?: readonly string[];
  /** Of each branch of a union. */
  readonly errors?: readonly (readonly Issue[])[];
}

/** A schema of zod, which shows in no declaration. */
interface Schema<T> {
  safeParse(
    value: unknown,
  ): { readonly success: true; readonly data: T } | { readonly success: false; readonly error: { readonly issues: readonly Issue[] } };
}

/** `cache.disk[0].capacity`: how the caller wrote it. */
function optionName(path: readonly PropertyKey[]): string {
  let name = "";
  for (const part of path) name += typeof part === "number" ? `[${part}]` : name === "" ? String(part) : `.${String(part)}`;
  return name;
}

/** What a schema of zod says of itself, as far as it is of use here. */
interface Definition {
  readonly def?: {
    readonly shape?: Readonly<Record<string, Definition>>;
    readonly innerType?: Definition;
    readonly element?: Definition;
    readonly valueType?: Definition;
    readonly options?: readonly Definition[];
  };
}

/** The options that a schema knows at a path; none where it has no fixed ones. */
function knownAt({ def }: Definition, path: readonly PropertyKey[]): string[] {
  if (def?.innerType !== undefined) return knownAt(def.innerType, path);
  if (def?.options !== undefined) return def.options.flatMap((branch) => knownAt(branch, path));
  const [first, ...rest] = path;
  if (first === undefined) return Object.keys(def?.shape ?? {});
  const inner = def?.shape?.[String(first)] ?? def?.element ?? def?.valueType;
  return inner === undefined ? [] : knownAt(inner, rest);
}

function unknownOption({ keys, path }: Issue, schema: Definition): string {
  const names = keys!.map((key) => optionName([...path, key])).join(", ");
  const known = knownAt(schema, path);
  return `${names}: no such option${known.length > 0 ? ` (known: ${known.join(", ")})` : ""}; see docs/configuration.md`;
}

function describe(issue: Issue, schema: Definition): string {
  if (issue.keys !== undefined) return unknownOption(issue, schema);
  if (issue.errors !== undefined && issue.errors.length > 0) {
    // The branch that got furthest is the one the caller meant.
    const depth = (branch: readonly Issue[]) =>
      Math.max(0, ...branch.map((inner) => inner.path.length + (inner.keys === undefined ? 0 : 1)));
    const best = [...issue.errors].sort((a, b) => depth(b) - depth(a))[0]!;
    if (depth(best) > 0) return describe({ ...best[0]!, path: [...issue.path, ...best[0]!.path] }, schema);
    return `${optionName(issue.path)}: ${issue.errors.map((branch) => branch[0]?.message ?? "").join("; or ")}`;
  }
  return `${optionName(issue.path) || "options"}: ${issue.message}`;
}

/** The value, as the schema has it. Throws MILLRACE_CONFIG with a line for each option that does not fit, by its name: `cache.disk[0].capacity: …`. */
export function checkOptions<T>(schema: Schema<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new MillraceError("MILLRACE_CONFIG", result.error.issues.map((issue) => describe(issue, schema as Definition)).join("\n"));
}
