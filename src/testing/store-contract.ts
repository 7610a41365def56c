import { Bench, type StoreCase, type StoreHarness } from "./contract-bench.js";
import { listCases } from "./contract-list.js";
import { readCases } from "./contract-read.js";
import { removeCases, writeCases } from "./contract-write.js";

/** One promise of the contract; `run` rejects with an AssertionError where it is broken. */
export interface ContractCase {
  readonly name: string;
  run(): Promise<void>;
}

/**
 * What every store promises, one case a promise, for any test runner:
 *
 *     for (const { name, run } of storeContract({ open: () => myStore() })) test(name, run);
 *
 * The cases are to run one after the other. They write some 1,300 small objects and 120 MB below the prefix.
 */
export function storeContract(harness: StoreHarness): readonly ContractCase[] {
  const bench = new Bench(harness);
  const { lists = true, writes = true, removes = true } = harness;
  const cases = [
    ...(lists ? listCases(bench) : []),
    ...readCases(bench),
    ...(writes ? writeCases(bench) : []),
    ...(writes && removes ? removeCases(bench) : []),
    closeCase(),
  ];
  return cases.map(({ name, run }) => ({ name, run: async () => run(await bench.open()) }));
}

function closeCase(): StoreCase {
  return {
    name: "close: may be called twice",
    run: async (store) => {
      await store.close?.();
      await store.close?.();
    },
  };
}
