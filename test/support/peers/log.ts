/** A log that keeps its lines: `warn: message`, with the fields behind. */
export class LineLog {
  readonly lines: string[] = [];
  readonly debug: (fields: object, message: string) => void = this.#line("debug");
  readonly info: (fields: object, message: string) => void = this.#line("info");
  readonly warn: (fields: object, message: string) => void = this.#line("warn");

  /** Lines of one level. */
  of(level: "debug" | "info" | "warn"): string[] {
    return this.lines.filter((line) => line.startsWith(`${level}: `));
  }

  #line(level: string) {
    return (fields: object, message: string): void => {
      this.lines.push(`${level}: ${message} ${JSON.stringify(fields)}`);
    };
  }
}
