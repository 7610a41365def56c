/** Ceph's packages, where they are missing (Debian, Ubuntu). */
import { execFileSync, spawnSync } from "node:child_process";

const PACKAGES = ["radosgw", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-common"];
const COMMANDS = ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "ceph-authtool", "monmaptool"];

function missing(): string[] {
  return COMMANDS.filter((command) => spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status !== 0);
}

/** Throws where the commands are missing and cannot be installed. */
export function installCeph(): void {
  if (missing().length === 0) return;
  console.log(`installing ${PACKAGES.join(" ")}`);
  const options = {
    stdio: ["ignore", "ignore", "inherit"] as ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  };
  const [command, prefix] = process.getuid?.() === 0 ? ["apt-get", []] : ["sudo", ["-n", "-E", "apt-get"]];
  try {
    execFileSync(command as string, [...prefix!, "update", "-q"], options);
    // No recommended packages: they would bring Ceph's own start scripts and a Java runtime's worth of extras.
    execFileSync(command as string, [...prefix!, "install", "-q", "-y", "--no-install-recommends", ...PACKAGES], options);
  } catch (cause) {
    throw new Error(`The S3 tests need a Ceph gateway. Install it as root: apt-get install --no-install-recommends ${PACKAGES.join(" ")}`, {
      cause,
    });
  }
  const still = missing();
  if (still.length > 0) throw new Error(`The packages ${PACKAGES.join(", ")} did not bring: ${still.join(", ")}`);
}
