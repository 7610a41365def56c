/** A node that loads a checkpoint when its parent says so. Ends when its parent does. */
import { setTimeout as sleep } from "node:timers/promises";
import { type MillraceOptions, openMillrace } from "../../src/index.js";
import { measureReads } from "./checkpoint-data.js";
import type { Figures } from "./scenario.js";

export interface CheckpointNodeOptions {
  readonly mill: MillraceOptions;
  readonly path: string;
  /** Loaded before the clock starts: connections and compiled code. */
  readonly warmUp: string;
  /** With itself. 0: without peers. */
  readonly members: number;
}
/** "ready": the others are found. */
export type CheckpointNodeMessage = "ready" | Figures;

const { mill: options, path, warmUp, members } = JSON.parse(process.argv[2]!) as CheckpointNodeOptions;
const send = (message: CheckpointNodeMessage): void => void process.send!(message);
process.once("disconnect", () => process.exit());

const mill = await openMillrace(options);
async function load(source: string): Promise<Uint8Array[]> {
  const checkpoint = await mill.checkpoint(source);
  const tensors = await checkpoint.load();
  return checkpoint.tensors.map(({ name }) => tensors.get(name)!.bytes);
}
while (members > 0 && mill.stats().peers!.members !== members) await sleep(50);
await load(warmUp);
process.once("message", async () => {
  send(await measureReads(1, () => load(path)));
  process.once("message", async () => {
    await mill.close();
    process.disconnect();
  });
});
send("ready");
