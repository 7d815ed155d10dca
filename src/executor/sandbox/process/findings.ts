/** What `rfaas doctor` says of the features of the kernel that rooms are made of. */
import type { RoomReport } from "../../../../ffi/sandbox.ts";
import type { Finding } from "../../../base/finding.ts";
import { roomHere } from "./guards.ts";

/** The kernel of the machine, where someone can set what it starts with. */
const IN_THE_KERNEL = "start a kernel that has it";

export function roomFindings(report: RoomReport = roomHere()): Finding[] {
  return [landlock(report), namespaces(report), seccomp(report)];
}

function landlock({ layers, landlockAbi: abi }: RoomReport): Finding {
  const name = "Landlock";
  if (!layers.has("files"))
    return {
      ...{ name, state: "off" },
      found: "the kernel has none: the sandbox process guards no files",
      fix: "add landlock to the list lsm= of the kernel's command line, from Linux 5.13 on",
    };
  const found = `ABI ${abi}: files${layers.has("ports") ? ", ports" : ""}${layers.has("scopes") ? ", signals and abstract sockets" : ""}`;
  return layers.has("scopes") || layers.has("processes")
    ? { name, state: "ok", found }
    : {
        ...{ name, state: "off" },
        found: `${found}: no signals, which a room without a pid namespace can send`,
        fix: `${IN_THE_KERNEL}: Linux 6.12, or later`,
      };
}

function namespaces({ layers }: RoomReport): Finding {
  const name = "namespaces";
  if (layers.has("processes"))
    return {
      ...{ name, state: "ok" },
      found: `a room has its own processes${layers.has("ipc") ? " and IPC" : ""}${layers.has("user") ? ", without root" : ""}`,
    };
  return {
    ...{ name, state: "off" },
    found: "a room sees the machine's processes, as far as Landlock lets it",
    fix: "sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0",
  };
}

function seccomp({ layers }: RoomReport): Finding {
  const name = "seccomp";
  if (layers.has("calls")) return { name, state: "ok", found: "filters system calls of a room" };
  return {
    ...{ name, state: "off" },
    found:
      "the kernel filters no system calls: the sandbox process guards no sockets and no programs",
    fix: `${IN_THE_KERNEL} (CONFIG_SECCOMP_FILTER)`,
  };
}
