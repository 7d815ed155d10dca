/**
 * A room by Apptainer, as centres have it: a container of namespaces without privileges. The host inherits its descriptors, and ends with
 * Apptainer's own process, which is its parent.
 */
import { dirname, join } from "node:path";
import type { Finding } from "../../../base/finding.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs, makeRoot } from "../containers/inside.ts";
import { startWrapped } from "../containers/wrapped-host.ts";
import type { SandboxDriver } from "../driver.ts";
import { apptainerEnvironment, apptainerLine } from "./line.ts";

export const apptainer = {
  name: "apptainer",
  rooms: true,
  ownNetwork: true,
  seals: true,
  images: "folders",
  inside: inOurs,
  // Scratch and /tmp are a folder of the node's disk.
  inMemory: () => ["/dev", "/dev/shm"],
  whyNot,
  guards: () => containerGuards("container"),
  start(host) {
    const root = join(dirname(host.folders!.scratch), "root");
    if (host.terms.image === undefined) makeRoot(root);
    const environment = apptainerEnvironment(host.environment, process.env);
    const line = apptainerLine(Bun.which("apptainer")!, root, host);
    return startWrapped(line, { ...host, environment });
  },
} as const satisfies SandboxDriver;

function whyNot(): Finding | undefined {
  if (Bun.which("apptainer") !== null) return undefined;
  const found = "Apptainer is not installed";
  return { name: "apptainer", state: "off", found, fix: "apt-get install apptainer" };
}
