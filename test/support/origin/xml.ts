/** Just enough XML: S3's documents are flat. */

function escapeXml(text: string): string {
  return text.replace(/[&<>"'\r\n]/g, (c) => `&#${c.charCodeAt(0)};`);
}

export type XmlValue = string | number | boolean | undefined | XmlNode | readonly XmlNode[];
export interface XmlNode {
  readonly [tag: string]: XmlValue;
}

function children(node: XmlNode): string {
  let out = "";
  for (const [tag, value] of Object.entries(node)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) {
      out += `<${tag}>${typeof item === "object" ? children(item as XmlNode) : escapeXml(String(item))}</${tag}>`;
    }
  }
  return out;
}

/** A document with S3's namespace. An array becomes repeated elements; undefined is left out. */
export function xmlDocument(root: string, node: XmlNode): string {
  const space = root === "Error" ? "" : ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root}${space}>${children(node)}</${root}>`;
}

/** The text of the first `tag` in a fragment, with the five named and the numeric entities resolved. */
export function xmlText(fragment: string, tag: string): string | undefined {
  const match = new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(fragment);
  return match?.[1]?.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }[name as string] ?? whole;
  });
}
