import type { TestProject } from "vitest/node";
import { type RgwInfo, startRgw } from "../support/ceph/rgw.js";

declare module "vitest" {
  interface ProvidedContext {
    rgw: RgwInfo;
  }
}

/** One gateway for all the tests here; each makes buckets of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stop, ...info } = await startRgw();
  project.provide("rgw", info);
  return stop;
}
