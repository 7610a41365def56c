import { get } from "node:http";

/** A whole object by one GET of node:http on a connection of its own, into fresh memory. */
export function fetchWhole(url: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
      const whole = Buffer.allocUnsafeSlow(Number(response.headers["content-length"]));
      let filled = 0;
      response.on("data", (chunk: Buffer) => {
        filled += chunk.copy(whole, filled);
      });
      response.once("error", reject).once("end", () => resolve(whole));
    }).once("error", reject);
  });
}
