/** What steers a pod to the nodes that hold its data. */
import type { NodeShare } from "../index.js";

/** Of the peers: the name that Kubernetes knows the node by. */
const NODE_LABEL = "node";
/** Kubernetes' bounds of a preference. */
const MOST_WEIGHT = 100;

export interface Preference {
  readonly weight: number;
  readonly preference: {
    readonly matchFields: readonly [{ readonly key: "metadata.name"; readonly operator: "In"; readonly values: readonly [string] }];
  };
}

/** The `affinity` of a pod. */
export interface Affinity {
  readonly nodeAffinity: { readonly preferredDuringSchedulingIgnoredDuringExecution: readonly Preference[] };
}

/** The node with most of the data weighs 100, the others by their part of that; who holds nothing is left out. Undefined where no peer has the label. */
export function affinityOf(shares: readonly NodeShare[]): Affinity | undefined {
  const byNode = new Map<string, number>();
  for (const { labels, bytes } of shares) {
    const node = labels[NODE_LABEL];
    if (node !== undefined) byNode.set(node, (byNode.get(node) ?? 0) + bytes);
  }
  if (byNode.size === 0) return undefined;
  const most = Math.max(...byNode.values());
  const preferred = [...byNode]
    .filter(([, bytes]) => bytes > 0)
    .sort(([a, one], [b, other]) => other - one || (a < b ? -1 : 1))
    .map(([node, bytes]): Preference => {
      const weight = Math.max(1, Math.round((MOST_WEIGHT * bytes) / most));
      return { weight, preference: { matchFields: [{ key: "metadata.name", operator: "In", values: [node] }] } };
    });
  return { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: preferred } };
}

/** As YAML, to be put below a pod's `spec`. */
export function affinityYaml({ nodeAffinity }: Affinity): string[] {
  const preferred = nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution;
  const items = preferred.flatMap(({ weight, preference }) => {
    const [{ key, operator, values }] = preference.matchFields;
    // JSON is YAML, and quotes what YAML would take for something else.
    return [`      - weight: ${weight}`, "        preference:", "          matchFields:", `            - key: ${key}`].concat(
      `              operator: ${operator}`,
      `              values: ${JSON.stringify(values)}`,
    );
  });
  const list = "    preferredDuringSchedulingIgnoredDuringExecution:";
  return ["affinity:", "  nodeAffinity:", ...(items.length === 0 ? [`${list} []`] : [list, ...items])];
}
