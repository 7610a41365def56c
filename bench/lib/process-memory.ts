import { readFileSync } from "node:fs";

/**
 * A figure of this process's memory, bytes: the most that was resident so far, or what is. `process.resourceUsage().maxRSS` begins with the
 * size of the process that started this one, and would show the bench's own data.
 */
export function processMemory(figure: "VmHWM" | "VmRSS"): number {
  const [, kibibytes] = new RegExp(`^${figure}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"))!;
  return Number(kibibytes) * 1024;
}
