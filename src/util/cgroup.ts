/**
 * What this process may really use. Node's own figures are the host's: `os.totalmem` ignores the cgroup's memory limit and
 * `availableParallelism` its CPU quota, so a container of 2 CPUs on a host of 64 would start 63 workers.
 */
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** The smallest limit on the way from this process's cgroup up to the root, where limits of parents hold too. */
function limitsUpwards(file: string): string[] {
  const own = read("/proc/self/cgroup")?.match(/^0::(.*)$/m)?.[1] ?? "/";
  const parts = own.split("/").filter(Boolean);
  const found: string[] = [];
  for (let depth = parts.length; depth >= 0; depth--) {
    const text = read(
      `/sys/fs/cgroup/${parts
        .slice(0, depth)
        .map((part) => `${part}/`)
        .join("")}${file}`,
    );
    if (text !== undefined) found.push(text);
  }
  return found;
}

/** Bytes of memory this process may use: the cgroup's limit (v2 or v1) or the machine's memory, whichever is less. */
export function memoryLimit(): number {
  const v1 = read("/sys/fs/cgroup/memory/memory.limit_in_bytes");
  const limits = [...limitsUpwards("memory.max"), ...(v1 === undefined ? [] : [v1])].map(Number).filter((n) => n > 0);
  return Math.min(totalmem(), ...limits);
}

/** CPUs this process may keep busy, at least 1: the cgroup's quota (v2 or v1), rounded up, or the CPUs it may run on, whichever is less. */
export function cpuLimit(): number {
  const quotas = limitsUpwards("cpu.max").map((text) => {
    const [quota, period] = text.split(" ");
    return Number(quota) / Number(period);
  });
  const v1 = Number(read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")) / Number(read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return Math.max(1, Math.ceil(Math.min(availableParallelism(), ...[...quotas, v1].filter((n) => n > 0))));
}
