import type { RawSample, RawValue } from "./format.js";

/** Sets a field that the data named: a plain assignment to `__proto__` would set the prototype. */
export function setField(sample: RawSample, name: string, value: RawValue): void {
  if (name === "__proto__") Object.defineProperty(sample, name, { value, enumerable: true, configurable: true, writable: true });
  else sample[name] = value;
}
