/**
 * JSON (RFC 8259) for headers that must mean the same to every reader: what `JSON.parse` hides is told or refused here. A name that comes
 * twice in an object is refused, as is text that is no Unicode; a number that is not written as a plain integer keeps its spelling.
 */

export type StrictJson = string | number | OddNumber | boolean | null | StrictJson[] | Map<string, StrictJson>;

/** A number that is not a plain non-negative integer up to 2^53 − 1: its text as it stands. */
export class OddNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Thrown for text that is not JSON, or not strictly so; the message says what is wrong and where. */
export class StrictJsonError extends Error {
  override readonly name = "StrictJsonError";
}

/** As deep as serde_json, the reference reader's, goes: deeper would only serve to exhaust the stack. */
const MAX_DEPTH = 128;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const PLAIN_INTEGER = /^(?:0|[1-9]\d{0,15})$/;
const ESCAPE = /\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y;
const WORDS = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const;

/** Throws StrictJsonError. */
export function parseStrictJson(text: string): StrictJson {
  return new Parser(text).document();
}

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): StrictJson {
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#error("unexpected text after the end");
    return value;
  }

  #value(): StrictJson {
    this.#space();
    const char = this.#text[this.#at];
    if (char === "{") return this.#nested(() => this.#object());
    if (char === "[") return this.#nested(() => this.#array());
    if (char === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    return this.#number();
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`nested more than ${MAX_DEPTH} deep`);
    this.#at++;
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): Map<string, StrictJson> {
    const entries = new Map<string, StrictJson>();
    if (this.#takes("}")) return entries;
    do {
      this.#space();
      const key = this.#string();
      if (entries.has(key)) throw this.#error(`the name ${quoted(key)} comes twice`);
      this.#expect(":");
      entries.set(key, this.#value());
    } while (this.#takes(","));
    this.#expect("}");
    return entries;
  }

  #array(): StrictJson[] {
    const items: StrictJson[] = [];
    if (this.#takes("]")) return items;
    do items.push(this.#value());
    while (this.#takes(","));
    this.#expect("]");
    return items;
  }

  #string(): string {
    this.#expect('"');
    const begin = this.#at;
    let escaped = false;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code === 0x22) break;
      if (!(code >= 0x20)) throw this.#error(Number.isNaN(code) ? "a string does not end" : "a string holds a control character");
      if (code === 0x5c) {
        escaped = true;
        ESCAPE.lastIndex = this.#at;
        if (!ESCAPE.test(this.#text)) throw this.#error("a string holds an escape that JSON does not have");
        this.#at = ESCAPE.lastIndex;
      } else this.#at++;
    }
    const value = escaped ? (JSON.parse(this.#text.slice(begin - 1, this.#at + 1)) as string) : this.#text.slice(begin, this.#at);
    if (escaped && /\p{Surrogate}/u.test(value)) throw this.#error("a string holds half a surrogate pair");
    this.#at++;
    return value;
  }

  #number(): number | OddNumber {
    NUMBER.lastIndex = this.#at;
    const text = NUMBER.exec(this.#text)?.[0];
    if (text === undefined) throw this.#error(this.#at < this.#text.length ? "unexpected text" : "it ends too early");
    this.#at += text.length;
    return PLAIN_INTEGER.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : new OddNumber(text);
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #takes(char: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string): void {
    if (!this.#takes(char)) throw this.#error(`expected ${char}`);
  }

  #error(message: string): StrictJsonError {
    const at = this.#text.slice(this.#at, this.#at + 1);
    return new StrictJsonError(`${message}${at && `, at ${quoted(at)}`} (character ${this.#at})`);
  }
}

/** A name from a file, for a message: escaped, and no longer than a line. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
