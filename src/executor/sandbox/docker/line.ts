/** The command line of Docker for a host. */
import { SCRATCH_IN_OURS, shownFor, systemBinds } from "../containers/inside.ts";
import { environmentOption } from "../containers/environment.ts";
import { BECOMING, limitsAsOptions, mountOption } from "../containers/options.ts";
import type { HostStart } from "../driver.ts";

/** An image without files, around which a lease without an image sees the node's own system. */
export const EMPTY_IMAGE = "rfaas-empty:1";

/** `user` is who the host runs as, as `UID:GID`; it finds its descriptors where `start` hands them over, and Docker its variables in their file. */
export function dockerLine(
  program: string,
  name: string,
  user: string,
  start: HostStart,
): string[] {
  const { image, network, heapBytes, becomesUser } = start.terms;
  const { command, binds } = shownFor(start);
  const system = image === undefined ? systemBinds() : [];
  return [
    // Signals that it gets it passes on, to a host that outlasts them; else they would end it.
    ...[program, "run", "--rm", "--name", name, "--pull", "never", "--sig-proxy=true"],
    ...["--log-driver", "none", "--network", network ? "host" : "none", "--ipc", "none"],
    ...["--user", user, "--cap-drop", "ALL"],
    ...(becomesUser ? BECOMING : []).flatMap((capability) => ["--cap-add", capability]),
    ...["--security-opt", "no-new-privileges", "--read-only", "--workdir", "/"],
    ...limitsAsOptions(),
    ...[...system, ...binds.filter(({ writable }) => !writable)].flatMap(mountOption),
    ...[SCRATCH_IN_OURS, "/tmp"].flatMap((place) => inMemory(place, heapBytes)),
    ...[...environmentOption(start), "--entrypoint", ""],
    ...["--", image ?? EMPTY_IMAGE, ...command],
  ];
}

/** `--mount` of Docker's has no way to let programs be executed there. */
function inMemory(place: string, bytes: number | undefined): string[] {
  const size = bytes === undefined ? "" : `,size=${bytes}`;
  return ["--tmpfs", `${place}:rw,exec,nosuid,nodev,mode=1777${size}`];
}
