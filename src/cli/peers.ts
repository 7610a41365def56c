import { openAsking } from "./asking.js";
import type { Command } from "./command.js";
import { labelText, table } from "./table.js";

export const peers: Command = {
  summary: "show the nodes that share the cache, and those that were found and do not",
  parameters: "",
  help: ["Asks each address that peers.discover finds who answers there. Exits with 1 where nobody shares the cache."],
  flags: {},
  takes: { least: 0, most: 0 },

  async run({ options, json, console }) {
    await using mill = await openAsking(options, console);
    const found = (await mill.peers()).filter(({ state }) => state !== "self");
    if (json) console.out(JSON.stringify(found));
    else {
      const rows = found.map(({ id, url, weight, labels, state, reason }) => [
        id ?? "-",
        url ?? "-",
        state,
        String(weight ?? "-"),
        labelText(labels),
        reason ?? "",
      ]);
      for (const line of table(["node", "url", "state", "weight", "labels", "reason"], rows)) console.out(line);
    }
    return found.some(({ state }) => state === "member") ? 0 : 1;
  },
};
