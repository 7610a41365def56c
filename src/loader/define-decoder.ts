import type { Decoder, Fields, SampleContext, SampleOf } from "../api.js";
import { MillraceError } from "../errors.js";
import { checkFields } from "./fit.js";

/**
 * Makes a decoder: what turns a sample of the dataset into the fields of a batch. Call it at the top level of a module of its own, as its
 * default export: `export default defineDecoder(import.meta, { output: {…}, decode })`. Decode workers find the module by its URL, so it
 * works from .js, and from .ts under tsx and vitest; what the module does at its top level is done again in every worker.
 * `decode` may return a promise. Its result is checked against `output`; typed arrays in it may be used again for the next sample.
 * The sample's bytes and typed arrays are its own, to keep or to change. With `keepsNothing` (default false) it says that nothing of them is used
 * once it has returned, or its promise is fulfilled, by itself or by native code that it has started: their memory is freed then, which saves a
 * decode worker some 15 MB and three quarters of the copy's CPU time. What is kept all the same is found empty, and native code that still reads
 * it ends the process.
 * Throws MILLRACE_CONFIG.
 */
export function defineDecoder<I, const F extends Fields, A = undefined>(
  meta: { url: string },
  definition: { output: F; decode(sample: I, context: SampleContext<A>): SampleOf<F> | Promise<SampleOf<F>>; keepsNothing?: boolean },
): Decoder<I, F, A> {
  if (typeof meta?.url !== "string")
    throw new MillraceError("MILLRACE_CONFIG", "defineDecoder: pass import.meta first, so that workers find the module again");
  if (typeof definition?.decode !== "function")
    throw new MillraceError("MILLRACE_CONFIG", "defineDecoder: decode: expected a function of (sample, context)");
  checkFields(definition.output, "defineDecoder: output");
  return Object.freeze({
    url: meta.url,
    output: definition.output,
    run: definition.decode.bind(definition),
    keepsNothing: definition.keepsNothing ?? false,
  });
}
