/**
 * A room by podman: a container without network, capabilities and programs of its own beside the host. Podman hands the host its
 * descriptors. It is no child of the agent's: a monitor of podman's is its parent, which the agent adopts, and waits for.
 */
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Finding } from "../../../base/finding.ts";
import { childEnvironment } from "../../../base/process.ts";
import { EngineHost, containerName } from "../containers/engine-host.ts";
import { whyNotInFile, writeEnvironment } from "../containers/environment.ts";
import { runs } from "../containers/first-process.ts";
import { containerGuards } from "../containers/guards.ts";
import { SCRATCH_IN_OURS, inOurs, makeRoot } from "../containers/inside.ts";
import { lackIfFails, lackOf } from "../containers/lack.ts";
import { explainEngine } from "../containers/options.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { endOrphans } from "../orphans.ts";
import { type Container, type Podman, podmanLine } from "./line.ts";

/** The monitor cleans up after its container. */
const MONITOR_LIMIT_MS = 5000;
const MONITOR_PAUSE_MS = 10;

export const podman = {
  name: "podman",
  rooms: true,
  ownNetwork: true,
  seals: true,
  users: true,
  images: "named",
  inside: inOurs,
  inMemory: ({ scratch }) => [scratch, "/tmp", "/dev", "/dev/shm"],
  whyNot,
  whyNotPassed: whyNotInFile,
  guards: () => containerGuards("container"),
  explain: explainEngine("podman", "podman"),
  start,
} as const satisfies SandboxDriver;

function start(host: HostStart): StartedHost {
  const found = findPodman()!;
  const room = dirname(host.folders!.scratch);
  const container: Container = {
    name: containerName(host),
    hostPidFile: join(room, "pid"),
    monitorPidFile: join(room, "monitor"),
    root: join(room, "root"),
  };
  if (host.terms.image === undefined) {
    makeRoot(container.root);
    symlinkSync(SCRATCH_IN_OURS, join(container.root, "tmp"));
  }
  writeEnvironment(host);
  return new EngineHost(
    {
      line: podmanLine(found, container, host),
      environment: childEnvironment(),
      descriptors: host.descriptors,
      findPid: () => pidIn(container.hostPidFile),
      remove: [found.program, "rm", "--force", "--ignore", "--time", "0", container.name],
      gone: () => monitorGone(container),
    },
    host,
  );
}

/** Podman does not wait for its monitor. */
async function monitorGone({ monitorPidFile }: Container): Promise<void> {
  const monitor = pidIn(monitorPidFile);
  if (monitor === undefined) return;
  const endMs = performance.now() + MONITOR_LIMIT_MS;
  while (runs(monitor) && performance.now() < endMs) await Bun.sleep(MONITOR_PAUSE_MS);
  await endOrphans();
}

function pidIn(file: string): number | undefined {
  try {
    return Number(readFileSync(file, "latin1")) || undefined;
  } catch {
    return undefined;
  }
}

function findPodman(): Podman | undefined {
  const program = Bun.which("podman");
  return program === null
    ? undefined
    : { program, cgroupfs: !existsSync("/run/systemd/system"), crun: Bun.which("crun") !== null };
}

function whyNot(): Finding | undefined {
  const name = "podman";
  const found = findPodman();
  if (!found)
    return lackOf({
      ...{ name, found: "podman is not installed" },
      fix: "apt-get install podman crun",
    });
  return lackIfFails([found.program, "info", "--format", "{{.Host.OCIRuntime.Name}}"], {
    ...{ name, found: "podman does not run here", fix: "podman info" },
  });
}
