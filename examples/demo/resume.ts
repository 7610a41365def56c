/** The demo's other process: goes on from a state and prints the keys it gets. */
import { pathToFileURL } from "node:url";
import { type Loader, type LoaderOptions, openMillrace, type S3Options } from "millrace";

export interface ResumeOrder {
  readonly source: string;
  readonly s3: S3Options;
  readonly options: LoaderOptions;
  readonly epoch: number;
}

/** The keys of one epoch, in order; closes the loader. */
export async function readOrder(loader: Loader<unknown>, epoch: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const batch of loader.epoch(epoch)) keys.push(...batch.keys);
  await loader.close();
  return keys;
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const { source, s3, options, epoch } = JSON.parse(process.argv[2]!) as ResumeOrder;
  await using mill = await openMillrace({ s3 });
  const dataset = await mill.dataset(source);
  process.stdout.write(JSON.stringify(await readOrder(dataset.loader(options), epoch)));
}
