/** Commands that a test or a bench needs and that a Debian or Ubuntu package brings. */
import { execFileSync, spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Installs the package where the command is missing, as root or by sudo. Throws where that fails. */
export function installCommand(command: string, debianPackage: string): void {
  installCommands([command], [debianPackage]);
}

/** As `installCommand`, for commands that several packages bring. */
export function installCommands(commands: readonly string[], packages: readonly string[]): void {
  const missing = () => commands.filter((command) => spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status !== 0);
  if (missing().length === 0) return;
  console.error(`installing ${packages.join(" ")}`);
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n", "-E"];
  // Test files run side by side: one of them installs at a time.
  const lock = ["flock", join(tmpdir(), "millrace-apt.lock")];
  const apt = (...words: string[]) => {
    const [first, ...rest] = [...lock, ...sudo, "apt-get", ...words];
    execFileSync(first!, rest, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  };
  try {
    apt("update", "-q");
    // No recommended packages: Ceph's would bring its own start scripts and a Java runtime's worth of extras.
    apt("install", "-q", "-y", "--no-install-recommends", ...packages);
  } catch (cause) {
    const remedy = `apt-get install --no-install-recommends ${packages.join(" ")}`;
    throw new Error(`${missing().join(", ")} must be there. Install as root: ${remedy}`, { cause });
  }
  if (missing().length > 0) throw new Error(`The packages ${packages.join(", ")} did not bring ${missing().join(", ")}`);
}
