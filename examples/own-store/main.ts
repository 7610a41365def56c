/**
 * A store of our own: the mill reads objects through `pack-store.ts` as it reads them from S3.
 *
 *   npx tsx examples/own-store/main.ts
 */
import { join } from "node:path";
import { openMillrace } from "millrace";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writePack } from "./write-pack.js";

const folder = await temporaryFolder();
const file = join(folder.path, "reviews.pack");
const reviews = Array.from({ length: 60 }, (_, i) => {
  const mood = i % 3 === 0 ? "bad" : "good";
  return [`${mood}/${String(i).padStart(3, "0")}.txt`, `Review ${i}: it was ${mood}.`];
});
await writePack(file, Object.fromEntries(reviews) as Record<string, string>);

const mill = await openMillrace({
  // A store runs in the engine thread, so it comes as a module. Everything it needs to know goes in `args`.
  stores: { pack: { url: new URL("./pack-store.ts", import.meta.url), args: { file } } },
  mounts: { "/reviews": "pack://reviews" },
});
try {
  let bytes = 0;
  for await (const { size } of mill.list("/reviews/bad")) bytes += size;
  console.log(`${bytes} bytes of bad reviews`);
  const dataset = await mill.dataset("/reviews", { fields: { bytes: "utf8", label: "int32" } });
  console.log(`${dataset.sampleCount} reviews, classes ${dataset.classes!.join(" and ")}`);
  const loader = dataset.loader({ batchSize: 20, shuffle: { seed: 5 } });
  let agreeing = 0;
  for await (const batch of loader.epoch(0))
    for (const [row, label] of batch.columns.label.data.entries())
      if (batch.columns.bytes.at(row).includes(dataset.classes![label]!)) agreeing++;
  console.log(`${agreeing} reviews say what their folder says`);
  await mill.readFile("/reviews/good/999.txt").catch((error) => console.log(`${error.code}: ${error.message}`));
} finally {
  await mill.close();
  await folder.remove();
}
