/** examples/kubernetes: held to the Kubernetes schemas (as kubernetes-models has them), to our own options, and to itself. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";
import { DaemonSet } from "kubernetes-models/apps/v1/DaemonSet";
import { Job } from "kubernetes-models/batch/v1/Job";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import { ConfigMap } from "kubernetes-models/v1/ConfigMap";
import { Pod } from "kubernetes-models/v1/Pod";
import { Secret } from "kubernetes-models/v1/Secret";
import { Service } from "kubernetes-models/v1/Service";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { affinityOf } from "../../src/cli/affinity.js";
import { readConfig } from "../../src/cli/config.js";
import { millConfig } from "../../src/options.js";

const FOLDER = fileURLToPath(new URL("../../examples/kubernetes/", import.meta.url));
const MODELS = { ConfigMap, DaemonSet, Job, NetworkPolicy, Pod, Secret, Service, ServiceMonitor };

interface Container {
  readonly securityContext: object;
  readonly args?: readonly string[];
  readonly command?: readonly string[];
  readonly volumeMounts: readonly { readonly name: string }[];
}
interface PodSpec {
  readonly securityContext: object;
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
}
/** What is looked at of a manifest here. */
interface Manifest {
  readonly apiVersion: string;
  readonly kind: keyof typeof MODELS;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly template?: { readonly spec: PodSpec };
    readonly ports?: readonly { readonly port: number }[];
    readonly completions?: number;
  };
}

/** Paths of fields that a validator has not looked at: the schemas know no field of that name, and API servers drop it with a warning. */
function spied(value: unknown, path: string, unread: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const below = (key: string) => `${path}.${key}`;
  for (const key of Object.keys(value)) unread.add(below(key));
  const copy = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, spied(inner, below(key), unread)]));
  return new Proxy(Array.isArray(value) ? Object.assign([], copy) : copy, {
    get: (target, key) => {
      unread.delete(below(String(key)));
      return Reflect.get(target, key);
    },
  });
}

/** Throws where the schema does not take the manifest; returns the fields that it does not know. */
function check(manifest: Pick<Manifest, "apiVersion" | "kind"> & { readonly metadata?: object; readonly spec?: object }): string[] {
  const model = MODELS[manifest.kind];
  expect(manifest.apiVersion).toBe(model.apiVersion);
  const unread = new Set<string>();
  const fields = Object.entries(manifest).map(([name, value]) => [name, spied(value, name, unread)]);
  // The constructor would copy, and so read, everything.
  Object.assign(new model(), Object.fromEntries(fields)).validate();
  return [...unread];
}

const names = (await readdir(FOLDER)).filter((name) => name.endsWith(".yaml"));
const manifests: Manifest[] = [];
for (const name of names)
  for (const document of parseAllDocuments(await readFile(FOLDER + name, "utf8"))) {
    if ("errors" in document && document.errors.length > 0) throw document.errors[0]!;
    manifests.push(document.toJS());
  }
const only = (kind: string, name: string) => manifests.find((one) => one.kind === kind && one.metadata.name === name)!;
const podSpecs = manifests.flatMap(({ spec }) => spec?.template?.spec ?? []);

describe("the schemas", () => {
  test.each(manifests.map((one) => [`${one.kind} ${one.metadata.name}`, one] as const))("take %s", (_name, manifest) => {
    expect(check(manifest)).toEqual([]);
  });

  test("refuse a wrong type and a missing field, and show a name that they do not know", () => {
    const service = only("Service", "millrace");
    const changed = (spec: object) => check({ ...service, spec: { ...service.spec, ...spec } });
    expect(() => changed({ ports: [{ port: "http" }] })).toThrow(/port/);
    expect(() => changed({ ports: [{}] })).toThrow(/port/);
    expect(changed({ clusterIp: "None", ports: [{ port: 1, targetport: 2 }] }).sort()).toEqual([
      "spec.clusterIp",
      "spec.ports.0.targetport",
    ]);
  });

  test("take the affinity that millrace locate prints", () => {
    const affinity = affinityOf([{ node: "id", labels: { node: "a" }, bytes: 5, share: 1 }]);
    const spec = { containers: [{ name: "a" }], affinity };
    expect(check({ apiVersion: "v1", kind: "Pod", metadata: { name: "a" }, spec })).toEqual([]);
  });
});

describe("the manifests", () => {
  const { uid, gid } = { uid: 10001, gid: 10001 };

  test("are all that a cluster takes", () => {
    expect(manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual([
      "ConfigMap millrace",
      "DaemonSet millrace",
      "Job millrace-warm-up",
      "Job train",
      "NetworkPolicy millrace",
      "Secret millrace",
      "Service millrace",
      "ServiceMonitor millrace",
    ]);
  });

  test("run as one user that is not root, without a right too many", () => {
    for (const { securityContext, containers } of podSpecs) {
      expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: uid, runAsGroup: gid, fsGroup: gid });
      for (const container of containers)
        expect(container.securityContext).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } });
    }
    expect(only("DaemonSet", "millrace").spec!.template!.spec.initContainers![0]!.command).toEqual([
      "install",
      "-d",
      "-m",
      "0770",
      "-o",
      String(uid),
      "-g",
      String(gid),
      "/cache",
    ]);
  });

  test("mount volumes that they have, at the paths of the configuration", () => {
    for (const { volumes, containers, initContainers = [] } of podSpecs)
      for (const { volumeMounts } of [...containers, ...initContainers])
        for (const { name } of volumeMounts) expect(volumes.map((volume) => volume.name)).toContain(name);
    const paths = podSpecs.flatMap(({ volumes }) => volumes.filter(({ name }) => name === "cache"));
    expect(new Set(paths.map(({ hostPath }) => hostPath?.path))).toEqual(new Set(["/var/cache/millrace"]));
  });

  test("have the configuration's options, ports and secret", async () => {
    const folder = await mkdtemp(join(tmpdir(), "millrace-kubernetes-"));
    try {
      await writeFile(join(folder, "peers"), only("Secret", "millrace").stringData!.peers!);
      const options: Record<string, ReturnType<typeof millConfig>["engine"]> = {};
      for (const [name, text] of Object.entries(only("ConfigMap", "millrace").data!)) {
        await writeFile(join(folder, name), text.replaceAll('"/secret/peers"', '"peers"'));
        options[name] = millConfig(await readConfig(join(folder, name), { POD_IP: "10.0.0.1", NODE_NAME: "n" })).engine;
      }
      const { "serve.json": serve, "train.json": train } = options;
      expect(serve!.peers).toMatchObject({ listen: ":7070", advertise: "10.0.0.1", secret: "replace-me", labels: { node: "n" } });
      expect(train!.peers).toMatchObject({ listen: undefined, discover: serve!.peers!.discover, secret: "replace-me" });
      expect(train!.cache.disk).toEqual(serve!.cache.disk);
      expect(train!.mounts).toEqual(serve!.mounts);
      expect(only("Service", "millrace").spec!.ports!.map(({ port }) => port)).toEqual([7070, 9090]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("call millrace with words that it takes", () => {
    const words = podSpecs.flatMap(({ containers }) => containers.flatMap(({ args }) => (args === undefined ? [] : [args])));
    expect(words).toEqual([
      ["serve", "--config", "/config/serve.json", "--metrics", ":9090", "--json"],
      ["prefetch", "/imagenet/train", "--part", "$(JOB_COMPLETION_INDEX)/8", "--config", "/config/train.json"],
    ]);
    expect(only("Job", "millrace-warm-up").spec!.completions).toBe(8);
  });
});
