/** Sends an object's bytes: whole in one write where nothing shapes them, else in slices on time. */
import { type FileHandle, open } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { ByteRange } from "./conditions.js";
import type { OriginObject } from "./objects.js";
import { Line, MAX_SLICE_BYTES, type Shaper } from "./shaping.js";

const lines = new WeakMap<Socket, Line>();

function lineOf(socket: Socket): Line {
  let line = lines.get(socket);
  if (line === undefined) {
    line = new Line();
    lines.set(socket, line);
  }
  return line;
}

/** True once the slice is with the kernel; false when the client has gone. */
function write(response: ServerResponse, slice: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false);
    const gone = () => resolve(false);
    response.once("close", gone);
    response.write(slice, (error) => {
      response.off("close", gone);
      resolve(error === null || error === undefined);
    });
  });
}

export interface SendOptions {
  readonly shaper: Shaper;
  /** Stop after the first half of the body: for ever, or by closing the connection. */
  readonly cut: "stall" | "truncate" | undefined;
  readonly count: (bytes: number) => void;
}

async function sendSlices(
  response: ServerResponse,
  object: OriginObject,
  begin: number,
  end: number,
  options: SendOptions,
): Promise<boolean> {
  const { shaper, count } = options;
  const line = lineOf(response.req.socket);
  line.open(performance.now());
  const sliceBytes = shaper.paced ? shaper.sliceBytes : MAX_SLICE_BYTES;
  let file: FileHandle | undefined;
  try {
    if (!Buffer.isBuffer(object.body)) file = await open(object.body.file);
    // Reused for every slice of the file: write() waits until the kernel has the last one.
    const scratch = file === undefined ? undefined : Buffer.allocUnsafe(Math.min(sliceBytes, end - begin));
    for (let at = begin; at < end; ) {
      let length = Math.min(sliceBytes, end - at);
      let slice: Buffer;
      if (file === undefined) slice = (object.body as Buffer).subarray(at, at + length);
      else {
        length = (await file.read(scratch!, 0, length, at)).bytesRead;
        if (length === 0) return false;
        slice = scratch!.subarray(0, length);
      }
      const delay = shaper.paced ? shaper.delay(line, length, performance.now()) : 0;
      if (delay > 0.5) await sleep(delay);
      if (!(await write(response, slice))) return false;
      count(length);
      at += length;
    }
    return true;
  } finally {
    await file?.close();
  }
}

/** The body of a response whose head is written. */
export async function sendBody(response: ServerResponse, object: OriginObject, range: ByteRange, options: SendOptions): Promise<void> {
  const { begin } = range;
  const end = options.cut === undefined ? range.end : begin + ((range.end - begin) >> 1);
  if (options.cut === undefined && !options.shaper.paced && Buffer.isBuffer(object.body) && end - begin <= MAX_SLICE_BYTES) {
    options.count(end - begin);
    response.end(object.body.subarray(begin, end));
    return;
  }
  response.flushHeaders();
  const sent = await sendSlices(response, object, begin, end, options);
  if (options.cut === "stall" && sent) return;
  if (options.cut === "truncate" || !sent) response.req.socket.destroySoon();
  else response.end();
}
