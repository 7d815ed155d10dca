/** What native code tries: `native/*.c` has a function for each name. */
import { readFileSync } from "node:fs";
import { type Attempt, ROOT, row } from "../attempt.ts";

const CLOSED = ["EACCES", "EROFS"];
/** In a namespace of its own they are not there; else they are not to be touched. */
const HIDDEN = ["ENOENT", "ESRCH", "EACCES", "EPERM"];
const DENIED = ["EPERM"];
const SEALED = ["EPERM", "EACCES"];

/** Whether the kernel lets all users count events of their own processes; Debian's does not. */
function countsForUsers(): boolean {
  return Number(readFileSync("/proc/sys/kernel/perf_event_paranoid", "utf8")) <= 2;
}

const file = row("native", "files");
const FILES: Attempt[] = [
  file("read-outside", CLOSED),
  file("write-outside", CLOSED),
  file("create-outside", CLOSED),
  file("truncate-outside", CLOSED),
  file("remove-outside", CLOSED),
  file("chmod-outside", ["EROFS", "EPERM"]),
  file("chown-outside", ["EPERM", "EROFS", "EINVAL"], ROOT),
  file("touch-outside", ["EROFS", "EPERM"]),
  // Not every file system has labels.
  file("label-outside", ["EROFS", "EPERM"], { control: ["reached", "EOPNOTSUPP"] }),
  file("watch-outside", DENIED),
  file("link-outside", ["EXDEV", "EACCES", "EPERM"]),
  file("symlink-outside", CLOSED),
  file("rename-outside", [...CLOSED, "EXDEV"]),
  file("exchange-outside", [...CLOSED, "EXDEV"]),
  file("path-descriptor", CLOSED),
  file("by-handle", DENIED, ROOT),
  file("by-other-root", HIDDEN),
  file("by-other-folder", HIDDEN),
  file("make-device", SEALED, ROOT),
  file("shared-memory-file", CLOSED, { containersOwn: "a container has a /dev/shm of its own" }),
  file("core-pattern", CLOSED, ROOT),
  file("system-setting", CLOSED, ROOT),
  file("watch-all", DENIED, ROOT),
  file("write-package", CLOSED),
  file("add-to-package", CLOSED),
  file("relink-package", ["EXDEV", "EACCES", "EPERM"]),
  file("other-room", HIDDEN),
  file("write-state", CLOSED),
  file("read-state", CLOSED),
  file("read-cache", CLOSED),
  file("write-cache", CLOSED),
];

const process_ = row("native", "processes");
const PROCESSES: Attempt[] = [
  ...[
    ...["signal-other", "signal-agent", "signal-thread", "signal-group-thread", "queue-signal"],
    ...["signal-by-pidfd", "signal-by-owner", "descriptor-by-pidfd"],
    ...["memory-read", "memory-write", "environment", "other-descriptor", "other-stack"],
    ...["limit-other", "renice", "move-to-cores", "reschedule"],
  ].map((name) => process_(name, HIDDEN)),
  // The agent is not to be dumped, so that its files in /proc are root's.
  ...["agent-environment", "agent-maps", "advise-memory"].map((name) =>
    process_(name, HIDDEN, ROOT),
  ),
  ...["agent-words"].map((name) => process_(name, HIDDEN)),
  ...["other-mapping"].map((name) => process_(name, HIDDEN, ROOT)),
  ...["trace", "seize", "vm-read", "vm-write", "compare", "move-pages", "outlive"].map((name) =>
    process_(name, DENIED),
  ),
  process_("leave-cores", ["nothing"]),
  process_("shared-segment", DENIED),
  process_("message-queue", HIDDEN),
  process_("real-time", DENIED, ROOT),
];

const socket = row("native", "sockets");
const SOCKETS: Attempt[] = [
  ...[
    ...["connect-tcp", "fast-open", "listen-tcp", "send-udp", "ask-kernel", "connect-path"],
    ...["connect-node", "connect-name", "send-name", "reconnect-pair", "take-descriptor"],
    ...["send-by-inherited"],
  ].map((name) => socket(name, SEALED)),
  ...["raw-packets", "wire-packets"].map((name) => socket(name, SEALED, ROOT)),
  // Kernels without them say so.
  ...["virtual-machines", "kernel-crypto"].map((name) =>
    socket(name, SEALED, { control: ["reached", "EAFNOSUPPORT"] }),
  ),
];

const program = row("native", "programs");
const PROGRAMS: Attempt[] = [
  ...["fork", "vfork", "clone", "double-fork", "execute", "execute-at", "execute-memory"].map(
    (name) => program(name, DENIED),
  ),
  // A filter cannot see its flags: it is said to be missing, and C libraries then use another.
  program("clone3", ["ENOSYS"]),
  ...["execute-by-loader", "execute-script"].map((name) => program(name, SEALED)),
];

const kernel = row("native", "kernel");
const asks = (...says: string[]) => ({ ...ROOT, control: ["reached", ...says] });
const KERNEL: Attempt[] = [
  ...[
    ...["mount", "bind-outside", "clone-tree", "open-system", "user-namespace"],
    ...["clone-namespace", "handle-faults", "keyring", "read-keys"],
    ...["hoard-in-socket", "hoard-in-segment", "hoard-in-queue"],
    ...["hoard-in-pair", "hoard-in-pipe", "enlarge-pipe"],
    ...["hoard-in-semaphores", "hoard-in-named-queue"],
    ...["address-layout", ...(process.arch === "x64" ? ["segments"] : [])],
  ].map((name) => kernel(name, DENIED)),
  ...["change-root", "join-namespace", "load-program", "set-clock", "name-host"].map((name) =>
    kernel(name, DENIED, ROOT),
  ),
  ...["kernel-log", "regain", "become-other"].map((name) =>
    kernel(name, [...DENIED, "EINVAL"], ROOT),
  ),
  kernel("count-events", DENIED, countsForUsers() ? {} : ROOT),
  kernel("ring", DENIED, { control: ["reached", "ENOSYS", "EPERM"] }),
  kernel("pivot-root", DENIED, asks("EBUSY", "EINVAL")),
  ...["load-module", "load-module-file", "unload-module", "boot-kernel"].map((name) =>
    kernel(name, DENIED, asks("ENOSYS", "ENOEXEC", "EFAULT", "EBADF", "ENOENT", "EINVAL")),
  ),
  kernel("restart", DENIED, asks("EINVAL")),
  kernel("swap", DENIED, asks("ENOENT")),
  kernel("quota", DENIED, { control: ["reached", "ENOTBLK", "ENOSYS", "ENODEV"] }),
  kernel("type-on-terminal", DENIED, { control: ["reached", "ENOTTY", "EIO"] }),
  ...(process.arch === "x64"
    ? [
        kernel("other-table", DENIED, { control: ["reached", "ENOSYS"] }),
        kernel("old-table", DENIED, { control: ["reached", "ENOSYS"] }),
        kernel("ports", DENIED, asks("ENOSYS")),
      ]
    : []),
];

export const NATIVE: readonly (readonly [group: string, attempts: readonly Attempt[]])[] = [
  ["files", FILES],
  ["processes", PROCESSES],
  ["sockets", SOCKETS],
  ["programs", PROGRAMS],
  ["the kernel", KERNEL],
];
