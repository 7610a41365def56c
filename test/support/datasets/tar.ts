/** Tar archives in three dialects, and WebDataset shards with DALI's index, written from POSIX and GNU tar's manual. */

export type TarDialect = "ustar" | "pax" | "gnu";
export interface TarMember {
  readonly name: string;
  /** Left out for members that are not files. */
  readonly bytes?: Uint8Array | undefined;
  /** Type flag: `"0"` file (default), `"5"` directory, `"2"` symbolic link (to `link`), or any other. */
  readonly type?: string | undefined;
  readonly link?: string | undefined;
}

const BLOCK = 512;
const EMPTY = new Uint8Array(0);
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
/** An eleven-digit octal field holds less than this; more is base-256 (gnu) or a PAX record. */
const OCTAL_SIZE_LIMIT = 8 ** 11;

const padding = (length: number): Buffer => Buffer.alloc((BLOCK - (length % BLOCK)) % BLOCK);
const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, "0")}\0`;

function header(name: string, prefix: string, size: number, type: string, link: string, gnu: boolean): Buffer {
  const block = Buffer.alloc(BLOCK);
  const put = (text: string, at: number) => block.write(text, at, "utf8");
  put(name, 0);
  put(octal(0o644, 8), 100);
  put(octal(0, 8), 108);
  put(octal(0, 8), 116);
  if (size < OCTAL_SIZE_LIMIT) put(octal(size, 12), 124);
  else {
    block.writeBigUInt64BE(BigInt(size), 128);
    block[124] = 0x80;
  }
  put(octal(1_700_000_000, 12), 136);
  put("        ", 148);
  put(type, 156);
  put(link, 157);
  put(gnu ? "ustar  \0" : "ustar\x0000", 257);
  put(prefix, 345);
  put(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  return block;
}

/** `length keyword=value\n`, where the length counts its own digits. */
function paxRecord(keyword: string, value: string): string {
  const rest = ` ${keyword}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  if (String(length).length > String(bytes).length) length++;
  return `${length}${rest}`;
}

/** Cuts a name at a slash so that both halves fit a ustar header; undefined where it cannot be done. */
function splitName(name: string): { prefix: string; name: string } | undefined {
  if (Buffer.byteLength(name) <= NAME_BYTES) return { prefix: "", name };
  for (let slash = name.indexOf("/"); slash > 0; slash = name.indexOf("/", slash + 1)) {
    const [prefix, rest] = [name.slice(0, slash), name.slice(slash + 1)];
    if (Buffer.byteLength(prefix) <= PREFIX_BYTES && rest !== "" && Buffer.byteLength(rest) <= NAME_BYTES) return { prefix, name: rest };
  }
  return undefined;
}

function extension(name: string, type: string, body: Buffer, gnu: boolean): Buffer[] {
  return [header(name, "", body.length, type, "", gnu), body, padding(body.length)];
}

/** The headers before a member's data. */
function headers(member: TarMember, dialect: TarDialect): Buffer[] {
  const { name, bytes = EMPTY, type = "0", link = "" } = member;
  const short = (text: string) =>
    Buffer.from(text)
      .subarray(0, NAME_BYTES)
      .toString("latin1")
      .replace(/[^\x20-\x7e]/g, "_");
  if (dialect === "gnu") {
    const long = (text: string, flag: string) =>
      Buffer.byteLength(text) > NAME_BYTES ? extension("././@LongLink", flag, Buffer.from(`${text}\0`), true) : [];
    const cut = (text: string) => (Buffer.byteLength(text) > NAME_BYTES ? short(text) : text);
    return [...long(link, "K"), ...long(name, "L"), header(cut(name), "", bytes.length, type, cut(link), true)];
  }
  const split = splitName(name);
  if (dialect === "ustar") {
    if (split === undefined || Buffer.byteLength(link) > NAME_BYTES) throw new Error(`${name} does not fit a ustar header`);
    return [header(split.name, split.prefix, bytes.length, type, link, false)];
  }
  let records = "";
  if (split === undefined || /[^\x20-\x7e]/.test(name)) records += paxRecord("path", name);
  if (Buffer.byteLength(link) > NAME_BYTES) records += paxRecord("linkpath", link);
  const base = records === "" ? split! : { name: short(name), prefix: "" };
  const extended = records === "" ? [] : extension("PaxHeaders/member", "x", Buffer.from(records), false);
  return [...extended, header(base.name, base.prefix, bytes.length, type, short(link), false)];
}

export interface TarFile {
  readonly bytes: Uint8Array;
  /** Where each member's data begins. */
  readonly offsets: readonly number[];
}

/** An archive with two zero blocks at its end. `globals` become a PAX global header at its beginning. */
export function tarFile(
  members: readonly TarMember[],
  dialect: TarDialect = "ustar",
  globals: Readonly<Record<string, string>> = {},
): TarFile {
  const pieces: Uint8Array[] = [];
  const offsets: number[] = [];
  let length = 0;
  const push = (piece: Uint8Array) => {
    pieces.push(piece);
    length += piece.length;
  };
  const shared = Object.entries(globals)
    .map(([keyword, value]) => paxRecord(keyword, value))
    .join("");
  if (shared !== "") for (const piece of extension("PaxHeaders/global", "g", Buffer.from(shared), false)) push(piece);
  for (const member of members) {
    for (const piece of headers(member, dialect)) push(piece);
    offsets.push(length);
    push(member.bytes ?? EMPTY);
    push(padding(length));
  }
  push(Buffer.alloc(2 * BLOCK));
  return { bytes: Buffer.concat(pieces), offsets };
}

export interface WebdatasetSample {
  readonly key: string;
  readonly fields: Readonly<Record<string, Uint8Array>>;
}
export interface WebdatasetShard {
  readonly bytes: Uint8Array;
  /** DALI's wds2idx, version 1.2: a line of `ext offset size name` for each sample. */
  readonly index: string;
}

/** A shard whose members are `key.ext`, sample by sample. */
export function webdatasetShard(samples: readonly WebdatasetSample[], dialect: TarDialect = "ustar"): WebdatasetShard {
  const members = samples.flatMap(({ key, fields }) =>
    Object.entries(fields).map(([ext, bytes]) => ({ name: `${key}.${ext}`, bytes, ext })),
  );
  const { bytes, offsets } = tarFile(members, dialect);
  const lines: string[] = [];
  let at = 0;
  for (const { fields } of samples) {
    const parts = Object.keys(fields).map(() => {
      const member = members[at]!;
      return `${member.ext} ${offsets[at++]} ${member.bytes.length} ${member.name}`;
    });
    lines.push(parts.join(" "));
  }
  return { bytes, index: `v1.2 ${samples.length}\n${lines.join("\n")}\n` };
}
