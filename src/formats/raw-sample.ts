import type { RawSample, RawValue } from "./format.js";

/** Sets a field that the data named: a plain assignment to `__proto__` would set the prototype. */
export function setField(sample: RawSample, name: string, value: RawValue | undefined): void {
  if (name === "__proto__") Object.defineProperty(sample, name, { value, enumerable: true, configurable: true, writable: true });
  else sample[name] = value;
}

/** True where the sample has the field. Names such as `constructor` are found in every object otherwise. */
export function hasField(sample: object, name: string): boolean {
  return Object.hasOwn(sample, name) && (sample as RawSample)[name] !== undefined;
}

/** The names of the fields that the sample has. */
export function fieldNames(sample: object): string[] {
  return Object.keys(sample).filter((name) => hasField(sample, name));
}
