/**
 * A training run that can be killed at any time: `trainer.ts <folder of shards> <folder of the run> [step to die after]`.
 * It goes on from `state.json` where there is one, and logs the keys of every step that it has trained on.
 */
import { appendFile, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type LoaderState, openDataset } from "millrace";

const [shards, run, dieAfter] = process.argv.slice(2) as [string, string, string | undefined];
const statePath = join(run, "state.json");
const EPOCHS = 2;
const SAVE_EVERY = 5;

async function loadState(): Promise<LoaderState | undefined> {
  try {
    return JSON.parse(await readFile(statePath, "utf8")) as LoaderState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
/** Written beside and renamed into place: a crash leaves the old state or the new one, never half of one. */
async function saveState(state: LoaderState): Promise<void> {
  await writeFile(`${statePath}.new`, JSON.stringify(state));
  await rename(`${statePath}.new`, statePath);
}

const resume = await loadState();
await using dataset = await openDataset(pathToFileURL(shards).href, { fields: { cls: "int32" } });
const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 17 }, resume });

let trained = 0;
for (const epoch of loader.epochs(EPOCHS)) {
  console.log(`epoch ${epoch.number} begins at step ${epoch.firstStep} of ${epoch.steps}`);
  for await (const batch of epoch) {
    // …here a real run would train. Then what was learnt and the loader's state are saved together.
    await appendFile(join(run, "log.jsonl"), `${JSON.stringify({ epoch: batch.epoch, step: batch.step, keys: batch.keys })}\n`);
    if (++trained % SAVE_EVERY === 0) await saveState(batch.state);
    if (trained === Number(dieAfter)) process.kill(process.pid, "SIGKILL");
  }
}
