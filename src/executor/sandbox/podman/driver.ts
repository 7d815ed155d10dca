/**
 * A room by podman: a container without network, capabilities and programs of its own beside the host. Podman hands the host its
 * descriptors. It is no child of the agent's: a monitor of podman's is its parent, which the agent adopts, and waits for.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { descendantsTimeNs } from "../../../../ffi/children.ts";
import { cpuTimeNs } from "../../../../ffi/system.ts";
import type { Finding } from "../../../base/finding.ts";
import { keepChild } from "../../../base/process.ts";
import { startChild } from "../child.ts";
import { isFirstOfNamespace, runs } from "../containers/first-process.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs, makeRoot } from "../containers/inside.ts";
import { engineEnvironment } from "../containers/options.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { endOrphans } from "../orphans.ts";
import { type Container, type Podman, podmanLine } from "./line.ts";

/** Exit codes of podman's own. */
const NOT_MADE = 125;
const NOT_RUN = 127;

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
  whyNot,
  guards: () => containerGuards("container"),
  explain: ({ exitCode }, { image }) => {
    if (exitCode === NOT_MADE)
      return `got no container of podman's${image === undefined ? "" : `; does the node have the image? Bring it there: podman pull ${image}`}`;
    return exitCode === NOT_RUN && image !== undefined
      ? `does not run in the image ${image}, which must be a Linux of glibc 2.27 or later; name another image`
      : undefined;
  },
  start: (host) => new PodmanHost(host),
} as const satisfies SandboxDriver;

class PodmanHost implements StartedHost {
  readonly control: number;
  readonly #container: Container;
  readonly #podman = findPodman()!;
  readonly #kill: () => void;
  #pid: number | undefined;
  #cpuNs: number | undefined;
  #killed = false;

  constructor(start: HostStart) {
    const room = dirname(start.folders!.scratch);
    this.#container = {
      name: `rfaas-${basename(room)}`,
      hostPidFile: join(room, "pid"),
      monitorPidFile: join(room, "monitor"),
      root: join(room, "root"),
    };
    if (start.terms.image === undefined) makeRoot(this.#container.root);
    const child = startChild(podmanLine(this.#podman, this.#container, start), {
      descriptors: start.descriptors,
      environment: engineEnvironment(start.environment),
      wraps: true,
      onExit: (exit) => {
        void this.#gone().then(() => start.onExit({ ...exit, cpuNs: this.#cpuNs }));
      },
    });
    this.control = child.ends[0]!;
    this.#kill = child.kill;
  }

  get pid(): number {
    return (this.#pid ??= pidIn(this.#container.hostPidFile)!);
  }

  /** Podman's own CPU time is not the host's, and that of the host is known to its monitor alone once it has ended. */
  meter(): void {
    const pid = (this.#pid ??= pidIn(this.#container.hostPidFile));
    const hostNs = pid === undefined ? undefined : cpuTimeNs(pid);
    if (hostNs !== undefined)
      this.#cpuNs = Math.max(this.#cpuNs ?? 0, hostNs + descendantsTimeNs(pid!));
  }

  kill(): void {
    this.meter();
    this.#killed = true;
    const pid = (this.#pid ??= pidIn(this.#container.hostPidFile));
    if (pid === undefined) return this.#kill();
    // The pid may be another process's by now.
    if (!isFirstOfNamespace(pid)) return;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It is gone.
    }
  }

  /** Waits for the monitor, which podman does not. */
  async #gone(): Promise<void> {
    const { name, hostPidFile, monitorPidFile } = this.#container;
    if (this.#killed && !existsSync(hostPidFile)) await removeContainer(this.#podman, name);
    const monitor = pidIn(monitorPidFile);
    if (monitor === undefined) return;
    const endMs = performance.now() + MONITOR_LIMIT_MS;
    while (runs(monitor) && performance.now() < endMs) await Bun.sleep(MONITOR_PAUSE_MS);
    await endOrphans();
  }
}

/** One that was ended while podman made it. */
async function removeContainer({ program }: Podman, name: string): Promise<void> {
  const command = [program, "rm", "--force", "--ignore", "--time", "0", name];
  const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"] });
  keepChild(child);
  await child.exited;
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
  const lacks = (found: string, fix: string): Finding => ({
    name: "podman",
    state: "off",
    found,
    fix,
  });
  const found = findPodman();
  if (!found) return lacks("podman is not installed", "apt-get install podman crun");
  const tried = Bun.spawnSync([found.program, "info", "--format", "{{.Host.OCIRuntime.Name}}"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (tried.exitCode === 0) return undefined;
  const said = tried.stderr.toString().trim().split("\n").at(-1);
  return lacks(`podman does not run here (${said})`, "podman info");
}
