/** A self-signed certificate for 127.0.0.1, made by the openssl command at start. */
import { execFileSync } from "node:child_process";

export function selfSigned(): { key: string; cert: string } {
  const arguments_ = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout - -out -".split(
    " ",
  );
  const pem = execFileSync("openssl", [...arguments_, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.localhost"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const part = (name: string) => new RegExp(`-----BEGIN ${name}-----[^-]+-----END ${name}-----`).exec(pem)?.[0] ?? "";
  return { key: part("PRIVATE KEY"), cert: part("CERTIFICATE") };
}
