/** The command line of bubblewrap for a host. */
import { existsSync } from "node:fs";
import type { HostStart } from "../driver.ts";
import { ownSystem, shownFor, systemIn } from "../containers/inside.ts";

/** Namespaces of its own, without any privilege, in a session of its own, which ends with the agent. */
export const CLOSED = [
  ...[
    "--unshare-user-try",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
  ],
  ...["--cap-drop", "ALL", "--as-pid-1", "--die-with-parent", "--new-session"],
];

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

/** `program` is bwrap. */
export function bwrapLine(program: string, start: HostStart): string[] {
  const { command, binds } = shownFor(start);
  const { network, image } = start.terms;
  const system = image === undefined ? ownSystem() : systemIn(image);
  return [
    ...[program, ...CLOSED, ...(network ? [] : ["--unshare-net"])],
    ...system.links.flatMap(({ at, to }) => ["--symlink", to, at]),
    ...[...system.binds, ...binds].flatMap(({ from, to, writable }) => [
      writable ? "--bind" : "--ro-bind",
      from,
      to,
    ]),
    ...["--proc", "/proc", ...kernelShut(), "--dev", "/dev"],
    ...(image === undefined ? [] : ["--ro-bind-try", "/sys/devices/system", "/sys/devices/system"]),
    // Where a host has the network, it may have devices that go there.
    ...(network ? ["--dev-bind-try", "/dev/infiniband", "/dev/infiniband"] : []),
    ...["--remount-ro", "/", "--chdir", "/", "--", ...command],
  ];
}
