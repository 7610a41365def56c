import { describe } from "vitest";
import { OriginSource } from "../../src/cache/origin-source.js";
import { BLOCK, blockSourceContract } from "./block-source-contract.js";

describe("OriginSource", () => blockSourceContract((slab) => new OriginSource(slab, BLOCK), false));
