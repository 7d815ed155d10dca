/** Which guards rooms of this machine's kernel hold, and by which layer. */
import { type RoomReport, tryRoom } from "../../../../ffi/sandbox.ts";
import type { Freedoms, Guard } from "../driver.ts";

let tried: RoomReport | undefined;

/** One in which nothing is started. Its folder is one that every machine has. */
export const CLOSED_ROOM = {
  ...{ network: false, processes: false },
  ...{ folder: "/dev", scratchBytes: 0, rules: [] },
};

/** What a room gets here, which is found out once, by one. Throws `NativeError` where none can be started at all. */
export function roomHere(): RoomReport {
  return (tried ??= tryRoom(CLOSED_ROOM));
}

/** What lets a room hold a guard. */
export const WOULD_HOLD: Partial<Record<Guard, string>> = {
  files: "Landlock (Linux 5.13)",
  processes: "a pid namespace or Landlock (Linux 6.12)",
  sockets: "seccomp",
  programs: "seccomp",
};

/** The guards of rooms that are reported as this one, and in which programs may run with `processes`, each with the layers that hold it. */
export function guardsOf(
  { layers, landlockAbi }: RoomReport,
  { processes = false }: Freedoms = {},
): Map<Guard, string> {
  const landlock = `Landlock (ABI ${landlockAbi})`;
  const guards = new Map<Guard, string>();
  const held = (guard: Guard, ...by: (string | false)[]): void => {
    const names = by.filter((name) => name !== false);
    if (names.length > 0) guards.set(guard, names.join(" and "));
  };
  held("files", layers.has("files") && landlock);
  // Without a namespace, Landlock hides what other processes have in /proc, and the seal is for all else. It cannot tell a program's own
  // children, so signals to others are kept in by Landlock there.
  const bounded =
    layers.has("files") && layers.has("calls") && (layers.has("scopes") || !processes);
  held(
    "processes",
    layers.has("processes") ? "pid namespace" : bounded && `${landlock}, seccomp`,
    layers.has("processes") && layers.has("scopes") && landlock,
  );
  held("sockets", layers.has("calls") && "seccomp", layers.has("ports") && landlock);
  held("programs", layers.has("calls") && "seccomp");
  // RLIMIT_DATA alone does not see a heap of JavaScript grow: Bun has reserved it before.
  held("memory", "the node's watch", "RLIMIT_DATA");
  held("descriptors", "close_range");
  return guards;
}
