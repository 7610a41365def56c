/** What a dataset's or decoder's declared fields ask of a value: the declaration checked once, and in the form that the columns work with. */
import type { DType, FieldSpec, Fields, TensorSpec } from "../api.js";
import { MillraceError } from "../errors.js";
import { ARRAYS, fitNumber } from "./elements.js";

export type FieldKind = "tensor" | "padded" | "ragged" | "bytes" | "utf8" | "json";

/** One declared field. */
export interface FieldPlan {
  readonly name: string;
  readonly kind: FieldKind;
  /** `"uint8"` where the kind has no elements. */
  readonly dtype: DType;
  /** Declared as a bare dtype: a sample holds a number, not an array. */
  readonly bare: boolean;
  readonly shape: readonly (number | null)[];
  /** Product of the known dimensions: elements of a row, or of one step along the open dimensions. */
  readonly unit: number;
  readonly pad: number;
  readonly optional: boolean;
  /** As declared, for messages. */
  readonly declared: string;
}

/**
 * Checks a declaration of fields. `option` names it in messages.
 * Throws MILLRACE_CONFIG.
 */
export function checkFields(fields: Fields, option = "fields"): void {
  fieldPlans(fields, option);
}

/** The plans of all fields, in the order of their declaration. Throws MILLRACE_CONFIG. */
export function fieldPlans(fields: Fields, option = "fields"): readonly FieldPlan[] {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: expected an object of fields by name, such as { image: "bytes", label: "int32" }`,
    );
  const names = Object.keys(fields);
  if (names.length === 0) throw new MillraceError("MILLRACE_CONFIG", `${option}: declare at least one field`);
  return names.map((name) => fieldPlan(name, fields[name]!, `${option}.${name}`));
}

function fieldPlan(name: string, spec: FieldSpec, option: string): FieldPlan {
  const plain = { name, bare: false, shape: [], unit: 1, pad: 0, optional: false, declared: JSON.stringify(spec) };
  if (spec === "bytes" || spec === "utf8" || spec === "json") return { ...plain, kind: spec, dtype: "uint8" };
  if (typeof spec === "string") return { ...plain, kind: "tensor", dtype: checkedDtype(spec, option), bare: true };
  if (typeof spec !== "object" || spec === null) throw badSpec(option, spec);
  return tensorPlan(plain, spec, option);
}

function tensorPlan(plain: Omit<FieldPlan, "kind" | "dtype">, spec: TensorSpec, option: string): FieldPlan {
  const unknown = Object.keys(spec).find((key) => !["dtype", "shape", "pad", "optional"].includes(key));
  if (unknown !== undefined)
    throw new MillraceError("MILLRACE_CONFIG", `${option}.${unknown}: no such option; a field has dtype, shape, pad and optional`);
  const dtype = checkedDtype(spec.dtype, `${option}.dtype`);
  const shape = checkedShape(spec.shape ?? [], `${option}.shape`);
  const open = shape.filter((dimension) => dimension === null).length;
  if (spec.pad !== undefined) checkPad(spec.pad, open, dtype, option);
  if (spec.optional !== undefined && spec.optional !== true)
    throw new MillraceError("MILLRACE_CONFIG", `${option}.optional: expected true, or leave it out`);
  const unit = shape.reduce<number>((product, dimension) => product * (dimension ?? 1), 1);
  const kind = open === 0 ? "tensor" : spec.pad === undefined ? "ragged" : "padded";
  return { ...plain, kind, dtype, shape, unit, pad: spec.pad ?? 0, optional: spec.optional === true };
}

function checkedDtype(dtype: unknown, option: string): DType {
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAYS, dtype)) throw badSpec(option, dtype);
  return dtype as DType;
}

function checkedShape(shape: unknown, option: string): readonly (number | null)[] {
  const legal =
    Array.isArray(shape) && shape.every((dimension) => dimension === null || (Number.isSafeInteger(dimension) && dimension > 0));
  if (!legal)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: expected dimensions such as [224, 224, 3] or [null], got ${JSON.stringify(shape)}`,
    );
  return shape;
}

function checkPad(pad: unknown, open: number, dtype: DType, option: string): void {
  if (open !== 1)
    throw new MillraceError("MILLRACE_CONFIG", `${option}.pad: padding needs exactly one null dimension in shape, which has ${open}`);
  if (typeof pad !== "number") throw new MillraceError("MILLRACE_CONFIG", `${option}.pad: expected a number, got ${typeof pad}`);
  if (fitNumber(pad, dtype) === undefined) throw new MillraceError("MILLRACE_CONFIG", `${option}.pad: ${pad} does not fit ${dtype}`);
}

function badSpec(option: string, spec: unknown): MillraceError {
  const known = [...Object.keys(ARRAYS), "bytes", "utf8", "json"].join(", ");
  return new MillraceError(
    "MILLRACE_CONFIG",
    `${option}: ${JSON.stringify(spec)} is no field; expected one of ${known}, or { dtype, shape }`,
  );
}

/** The error for a value that its field cannot take. */
export function misfit(plan: FieldPlan, problem: string): MillraceError {
  return new MillraceError("MILLRACE_FORMAT", `field ${JSON.stringify(plan.name)}, declared as ${plan.declared}: ${problem}`);
}

/** The error for a sample that lacks a field. */
export function missing(plan: FieldPlan, found: readonly string[]): MillraceError {
  const there = found.length === 0 ? "no fields at all" : found.join(", ");
  return new MillraceError(
    "MILLRACE_FORMAT",
    `field ${JSON.stringify(plan.name)} is missing; there are: ${there}. Declare it as optional if that is right`,
  );
}
