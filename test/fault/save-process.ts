/**
 * Saves checkpoints back, until it is killed: `save-process.ts <options as JSON> <path> <bytes>`. Says "open", then "saved" for each one that has
 * resolved. Checkpoint n holds the byte n.
 */
import { openMillrace } from "../../src/index.js";

const [options, path, length] = process.argv.slice(2) as [string, string, string];
const mill = await openMillrace(JSON.parse(options));
process.stdout.write("open\n");
for (let n = 1; ; n++) {
  const data = new Uint8Array(Number(length)).fill(n);
  await mill.saveCheckpoint(`${path}-${n}.safetensors`, [{ name: "t", dtype: "U8", shape: [data.length], data }], { write: "back" });
  process.stdout.write(`saved ${n}\n`);
}
