/** The parts, each given back once it was used: for those who copy or write a part before they ask for the next. */
export async function* releasedParts(
  parts: AsyncIterable<Uint8Array>,
  release: ((part: Uint8Array) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const part of parts) {
    try {
      yield part;
    } finally {
      release?.(part);
    }
  }
}
