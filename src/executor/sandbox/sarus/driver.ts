/**
 * A room by Sarus, as centres have it: a container of its own processes and files, which is the user's, on the node's network, where the host
 * takes away from itself what its terms do not allow. Sarus passes no descriptors on: the host is handed them (`containers/handed.ts`).
 */
import type { Finding } from "../../../base/finding.ts";
import { startHanded } from "../containers/engine-host.ts";
import { whyOfHooks } from "../containers/environment.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs } from "../containers/inside.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { sarusLine } from "./line.ts";

export const sarus = {
  name: "sarus",
  rooms: true,
  seals: true,
  images: "names",
  inside: inOurs,
  // What is written to the root goes to a layer in memory; scratch and /tmp are a folder of the node's disk.
  inMemory: () => ["/", "/dev", "/dev/shm"],
  whyNot,
  whyNotPassed: whyOfHooks,
  guards: () => containerGuards("container").set("sockets", "seccomp"),
  start,
} as const satisfies SandboxDriver;

function start(host: HostStart): StartedHost {
  const program = Bun.which("sarus")!;
  return startHanded(host, (handed, name) => ({
    line: sarusLine(program, name, handed),
    // It passes on all that it finds, so it finds nothing of the node's. A program with root's rights that any user may start trusts none of it.
    environment: handed.environment,
    remove: [program, "kill", name],
  }));
}

function whyNot(): Finding | undefined {
  if (Bun.which("sarus") !== null) return undefined;
  const found = "Sarus is not installed";
  return { name: "sarus", state: "off", found, fix: "see https://sarus.readthedocs.io" };
}
