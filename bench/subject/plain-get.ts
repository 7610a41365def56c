/** A checkpoint by one plain GET. */
import { measureReads } from "../lib/checkpoint-data.js";
import { fetchWhole } from "../lib/plain-get.js";
import { parameters, report } from "../lib/subject.js";

export interface PlainGetParameters {
  readonly url: string;
  /** Before the data. */
  readonly headerBytes: number;
}

const { url, headerBytes } = parameters<PlainGetParameters>();
report({ cold: await measureReads(1, async () => [(await fetchWhole(url)).subarray(headerBytes)]) });
