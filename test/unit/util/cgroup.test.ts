import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { afterEach, describe, expect, test, vi } from "vitest";
import { cpuLimit, memoryLimit } from "../../../src/util/cgroup.js";

vi.mock("node:fs", async (original) => ({ ...(await original<object>()), readFileSync: vi.fn() }));
vi.mock("node:os", async (original) => ({ ...(await original<object>()), availableParallelism: vi.fn(), totalmem: vi.fn() }));

/** A machine of 8 CPUs and 64 GiB with these files in /proc and /sys. */
function machine(files: Readonly<Record<string, string>>): void {
  vi.mocked(availableParallelism).mockReturnValue(8);
  vi.mocked(totalmem).mockReturnValue(64 * 2 ** 30);
  vi.mocked(readFileSync).mockImplementation((path) => {
    const text = files[String(path)];
    if (text === undefined) throw Object.assign(new Error("ENOENT"), { code: "ENOENT" });
    return text;
  });
}
afterEach(() => vi.resetAllMocks());

describe("cgroup v2", () => {
  test("without a cgroup the limits are the machine's", () => {
    machine({});
    expect(memoryLimit()).toBe(64 * 2 ** 30);
    expect(cpuLimit()).toBe(8);
  });

  test("the smallest limit on the way to the root holds", () => {
    machine({
      "/proc/self/cgroup": "0::/pods/job\n",
      "/sys/fs/cgroup/pods/job/memory.max": "max\n",
      "/sys/fs/cgroup/pods/memory.max": `${4 * 2 ** 30}\n`,
      "/sys/fs/cgroup/pods/job/cpu.max": "250000 100000\n",
      "/sys/fs/cgroup/pods/cpu.max": "max 100000\n",
    });
    expect(memoryLimit()).toBe(4 * 2 ** 30);
    expect(cpuLimit()).toBe(3);
  });

  test("a quota below one CPU is one CPU", () => {
    machine({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "20000 100000\n" });
    expect(cpuLimit()).toBe(1);
  });
});

describe("cgroup v1", () => {
  test("its limits hold too", () => {
    machine({
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": `${2 ** 30}\n`,
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    });
    expect(memoryLimit()).toBe(2 ** 30);
    expect(cpuLimit()).toBe(4);
  });

  test("no limit is a number beyond the machine, and no quota is -1", () => {
    machine({
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    });
    expect(memoryLimit()).toBe(64 * 2 ** 30);
    expect(cpuLimit()).toBe(8);
  });
});
