import { expect, it } from "vitest";
import { parse } from "yaml";
import { affinityOf, affinityYaml } from "../../../src/cli/affinity.js";

const share = (node: string | undefined, bytes: number) => ({ node: "id", labels: node === undefined ? {} : { node }, bytes, share: 0 });

it("prefers nodes by what their peers hold together; YAML and object say the same", () => {
  const affinity = affinityOf([share("b", 50), share("a", 100), share("b", 150), share("c", 1), share("d", 0), share(undefined, 500)])!;
  const preferred = affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution;
  expect(preferred.map(({ weight, preference }) => [weight, preference.matchFields[0].values])).toEqual([
    [100, ["b"]],
    [50, ["a"]],
    [1, ["c"]],
  ]);
  expect(parse(affinityYaml(affinity).join("\n"))).toEqual({ affinity });
});

it("quotes names that YAML would take for something else", () => {
  const affinity = affinityOf([share("no", 1), share("1e3", 1), share('"', 1)])!;
  expect(parse(affinityYaml(affinity).join("\n"))).toEqual({ affinity });
});

it("of nodes that hold nothing prefers none; without labels there is nothing to say", () => {
  expect(parse(affinityYaml(affinityOf([share("a", 0)])!).join("\n"))).toEqual({
    affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
  });
  expect(affinityOf([share(undefined, 5)])).toBeUndefined();
});
