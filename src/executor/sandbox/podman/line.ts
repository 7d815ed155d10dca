/** The command line of podman for a host. */
import { isAbsolute } from "node:path";
import { SCRATCH_IN_OURS, ownSystem, shownFor, withoutSys } from "../containers/inside.ts";
import { environmentOption } from "../containers/environment.ts";
import { BECOMING, limitsAsOptions, memoryOption, mountOption } from "../containers/options.ts";
import type { HostStart } from "../driver.ts";

/** How podman is called on this machine. */
export interface Podman {
  program: string;
  /** No systemd manages cgroups here. */
  cgroupfs: boolean;
  /** Of the runtimes the one that starts fastest is there. */
  crun: boolean;
}

/** What is a container's own: its name, where podman writes the pids of the host and of its monitor, and a folder to be its root. */
export interface Container {
  name: string;
  hostPidFile: string;
  monitorPidFile: string;
  /** For a host without an image: it has the links of the node's own system. */
  root: string;
}

export function podmanLine(
  { program, cgroupfs, crun }: Podman,
  { name, hostPidFile, monitorPidFile, root }: Container,
  start: HostStart,
): string[] {
  const { image, network, heapBytes, becomesUser } = start.terms;
  const { command, binds } = shownFor(start);
  const own = withoutSys(ownSystem().binds);
  const system = image === undefined ? own : [];
  const files =
    image === undefined
      ? ["--rootfs", root]
      : isAbsolute(image)
        ? // A layer above it takes the places of what is mounted.
          ["--rootfs", `${image}:O`]
        : [image];
  return [
    ...[program, ...(crun ? ["--runtime", "crun"] : [])],
    ...(cgroupfs ? ["--cgroup-manager", "cgroupfs"] : []),
    // Signals that it gets it passes on, to a host that outlasts them; else they would end it.
    ...["run", "--rm", "--name", name, "--pull", "never", "--sig-proxy=true"],
    ...["--pidfile", hostPidFile, "--conmon-pidfile", monitorPidFile],
    ...["--preserve-fds", String(start.descriptors.length), "--log-driver", "none"],
    ...["--network", network ? "host" : "none", "--user", "0:0", "--cap-drop", "all"],
    ...(becomesUser ? BECOMING : []).flatMap((capability) => ["--cap-add", capability]),
    ...["--security-opt", "no-new-privileges", "--security-opt", "label=disable"],
    ...["--read-only", "--read-only-tmpfs=false", "--workdir", "/"],
    ...[
      ...limitsAsOptions(),
      ...[...system, ...binds.filter(({ writable }) => !writable)].flatMap(mountOption),
    ],
    // The root of the node's own system has a link to the first in the place of the second.
    ...[SCRATCH_IN_OURS, ...(image === undefined ? [] : ["/tmp"])].flatMap((place) =>
      memoryOption(place, heapBytes),
    ),
    // Of the node's own variables podman would pass on those of proxies, with their passwords.
    ...["--http-proxy=false", ...environmentOption(start), "--entrypoint", ""],
    ...[...files, ...command],
  ];
}
