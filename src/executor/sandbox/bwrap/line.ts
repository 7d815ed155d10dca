/** The command line of bubblewrap for a host. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { BECOMING } from "../containers/options.ts";
import type { HostStart, RoomTerms } from "../driver.ts";
import { type Bind, SCRATCH_IN_OURS, ownSystem, shownFor, systemIn } from "../containers/inside.ts";

/** Namespaces of its own, without any privilege, in a session of its own, which ends with the agent. */
export const CLOSED = [
  ...["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
  ...["--cap-drop", "ALL", "--as-pid-1", "--die-with-parent", "--new-session"],
];
/** Without root it takes a user namespace to have others; in one there are no other users. */
export const OWN_USERS = ["--unshare-user-try"];

/** Of /proc, what changes the machine: root may write it even without any privilege, since it is root's. */
const READ_ONLY = [
  ...["acpi", "asound", "bus", "driver", "fs", "irq", "mtrr", "scsi", "sys", "sysrq-trigger"],
];
/** And what tells of others. */
const HIDDEN = ["kcore", "keys", "kmsg", "latency_stats", "sched_debug", "timer_list"];

function kernelShut(): string[] {
  const there = (names: readonly string[]) =>
    names.map((name) => `/proc/${name}`).filter((path) => existsSync(path));
  return [
    ...there(READ_ONLY).flatMap((path) => ["--ro-bind", path, path]),
    ...there(HIDDEN).flatMap((path) => ["--ro-bind", "/dev/null", path]),
  ];
}

/** The folders that lead to what is mounted bwrap would make for itself alone, and a host may be another user. */
function mounts(binds: readonly Bind[]): string[] {
  const made = new Set<string>();
  const leading = (path: string): string[] => {
    const folder = dirname(path);
    if (folder === "/" || made.has(folder)) return [];
    made.add(folder);
    return [...leading(folder), "--dir", folder];
  };
  return binds.flatMap(({ from, to }) => [...leading(to), "--ro-bind", from, to]);
}

/**
 * The scratch folder, which is the one for temporary files, too. What the lease may have is known of a host that is started for it; who will be
 * the user of one that waits is not.
 */
function scratchInMemory({ heapBytes, becomesUser }: RoomTerms): string[] {
  const size = heapBytes === undefined ? [] : ["--size", String(heapBytes)];
  return [
    ...size,
    ...(becomesUser ? ["--perms", "1777"] : []),
    "--tmpfs",
    SCRATCH_IN_OURS,
    "--symlink",
    SCRATCH_IN_OURS,
    "/tmp",
  ];
}

/**
 * What bwrap reads of a descriptor: the host's variables, of which bwrap itself finds none, and no command line shows a value.
 */
export const bwrapVariables = (environment: HostStart["environment"]): string =>
  Object.entries(environment)
    .filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => ["--setenv", name, value])
    .map((word) => `${word}\0`)
    .join("");

/** `program` is bwrap, which reads the host's variables at its descriptor `variables`. */
export function bwrapLine(program: string, variables: number, start: HostStart): string[] {
  const { command, binds } = shownFor(start);
  const { network, image, becomesUser } = start.terms;
  const users = becomesUser
    ? BECOMING.flatMap((capability) => ["--cap-add", `CAP_${capability}`])
    : OWN_USERS;
  const system = image === undefined ? ownSystem() : systemIn(image);
  return [
    ...[program, ...CLOSED, ...users, ...(network ? [] : ["--unshare-net"])],
    ...["--clearenv", "--args", String(variables)],
    ...system.links.flatMap(({ at, to }) => ["--symlink", to, at]),
    ...mounts([...system.binds, ...binds.filter(({ writable }) => !writable)]),
    ...scratchInMemory(start.terms),
    ...["--proc", "/proc", ...kernelShut(), "--dev", "/dev"],
    ...(image === undefined ? [] : ["--ro-bind-try", "/sys/devices/system", "/sys/devices/system"]),
    // Where a host has the network, it may have devices that go there.
    ...(network ? ["--dev-bind-try", "/dev/infiniband", "/dev/infiniband"] : []),
    ...["--remount-ro", "/", "--chdir", "/", "--", ...command],
  ];
}
