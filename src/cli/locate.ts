import type { NodeShare } from "../index.js";
import { formatBytes } from "../util/byte-size.js";
import { affinityOf, affinityYaml } from "./affinity.js";
import { checkMembers, openAsking } from "./asking.js";
import type { Command, Console } from "./command.js";
import { labelText, table } from "./table.js";
import { UsageError } from "./usage.js";

const FORMATS = ["table", "k8s-affinity"] as const;

export const locate: Command = {
  summary: "show how much of a prefix's data each node holds",
  parameters: "<prefix>",
  help: [
    "The prefix is a path below a mount, or a URI. A node that does not answer is left out, with a warning.",
    "--format table          (default)",
    "--format k8s-affinity   the affinity of a pod, which prefers the nodes with the data, by the peers' label `node`; with --json as JSON",
  ],
  flags: { format: { type: "string" } },
  takes: { least: 1, most: 1 },

  async run({ options, positionals, values, json, console }) {
    const format = FORMATS.find((known) => known === (values.format ?? "table"));
    if (format === undefined) throw new UsageError(`--format: expected ${FORMATS.join(" or ")}, got ${values.format}`);
    await using mill = await openAsking(options, console);
    await checkMembers(mill);
    const shares = await mill.locate(positionals[0]!, { signal: console.signal });
    if (format === "k8s-affinity") return printAffinity(shares, json, console);
    if (json) console.out(JSON.stringify(shares));
    else for (const line of tableOf(shares)) console.out(line);
    return 0;
  },
};

function printAffinity(shares: readonly NodeShare[], json: boolean, console: Console): number {
  const affinity = affinityOf(shares);
  if (affinity === undefined) {
    console.err("millrace locate: no peer has a label `node`: give each peers.labels.node the name of its Kubernetes node");
    return 1;
  }
  if (json) console.out(JSON.stringify({ affinity }));
  else for (const line of affinityYaml(affinity)) console.out(line);
  return 0;
}

function tableOf(shares: readonly NodeShare[]): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const rows = shares.map(({ node, labels, bytes, share }) => [node, formatBytes(bytes), percent(share), labelText(labels)]);
  return table(["node", "held", "share", "labels"], rows);
}
