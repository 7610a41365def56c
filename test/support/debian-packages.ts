/** Commands that a test needs and that a Debian or Ubuntu package brings. */
import { execFileSync, spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Installs the package where the command is missing, as root or by sudo. Throws where that fails. */
export function installCommand(command: string, debianPackage: string): void {
  const isThere = () => spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status === 0;
  if (isThere()) return;
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n", "-E"];
  // Test files run side by side: one of them installs at a time.
  const lock = ["flock", join(tmpdir(), "millrace-apt.lock")];
  const apt = (...words: string[]) => {
    const [first, ...rest] = [...lock, ...sudo, "apt-get", ...words];
    execFileSync(first!, rest, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  };
  try {
    apt("update", "-q");
    apt("install", "-q", "-y", "--no-install-recommends", debianPackage);
  } catch (cause) {
    throw new Error(`This test needs ${command}. Install it as root: apt-get install --no-install-recommends ${debianPackage}`, { cause });
  }
  if (!isThere()) throw new Error(`The package ${debianPackage} did not bring ${command}`);
}
