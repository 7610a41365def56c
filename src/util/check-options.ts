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

function describe(issue: Issue): string {
  if (issue.keys !== undefined) {
    const names = issue.keys.map((key) => optionName([...issue.path, key])).join(", ");
    return `${names}: no such option; see docs/configuration.md`;
  }
  if (issue.errors !== undefined && issue.errors.length > 0) {
    // The branch that got furthest is the one the caller meant.
    const depth = (branch: readonly Issue[]) =>
      Math.max(0, ...branch.map((inner) => inner.path.length + (inner.keys === undefined ? 0 : 1)));
    const best = [...issue.errors].sort((a, b) => depth(b) - depth(a))[0]!;
    if (depth(best) > 0) return describe({ ...best[0]!, path: [...issue.path, ...best[0]!.path] });
    return `${optionName(issue.path)}: ${issue.errors.map((branch) => plain(branch[0]?.message ?? "")).join("; or ")}`;
  }
  return `${optionName(issue.path) || "options"}: ${plain(issue.message)}`;
}

/** zod's own messages ("Invalid input: expected string, received number") in the words of all others. */
function plain(message: string): string {
  if (message === "Invalid input") return "not a value that it takes";
  return message.replace(/^(?:Invalid (?:input|option)|Too (?:small|big)): /, "").replace(/, received (\w+)$/, ", got $1");
}

/** The value, as the schema has it. Throws MILLRACE_CONFIG with a line for each option that does not fit, by its name: `cache.disk[0].capacity: …`. */
export function checkOptions<T>(schema: Schema<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new MillraceError("MILLRACE_CONFIG", result.error.issues.map(describe).join("\n"));
}
