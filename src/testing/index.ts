/**
 * Helps to test stores and what is built on them, with any test runner: the contract that every store keeps, a store that fails on purpose,
 * and one in memory.
 */
export { MemoryStore, memoryStore } from "../storage/memory-store.js";
export type { ListOptions, ReadOptions, ReadProgress, Store, StoredObject, WriteOptions } from "../storage/store.js";
export type { StoreHarness } from "./contract-bench.js";
export { FaultStore, type Faults } from "./fault-store.js";
export { type ContractCase, storeContract } from "./store-contract.js";
