import { MillraceError } from "../errors.js";

/**
 * The path of a file that a model names, in the model's own folder or below: a model must not make us read anything else.
 * Throws MILLRACE_FORMAT for any other name.
 */
export function beside(modelPath: string, name: string): string {
  if (name === "" || /^\/|\\|^[a-z][a-z0-9+.-]*:/i.test(name) || name.split("/").includes(".."))
    throw new MillraceError("MILLRACE_FORMAT", `${modelPath}: its file "${name}" is not in the model's folder; refused`);
  return modelPath.slice(0, modelPath.lastIndexOf("/") + 1) + name.replace(/^(\.\/)+/, "");
}
