/** Which capabilities a node of root's needs whose hosts become other users, by their numbers. */
import { readFileSync } from "node:fs";

const NEEDED = {
  /** Folders of rooms go to their users. */
  CHOWN: 0,
  /** Hosts of other users are ended, */
  KILL: 5,
  /** become these users, */
  SETGID: 6,
  SETUID: 7,
  /** are looked at: what they have of memory and files, */
  SYS_PTRACE: 19,
  /** have mounts of their own, */
  SYS_ADMIN: 21,
  /** and are put on their CPUs. */
  SYS_NICE: 23,
} as const;
type Right = keyof typeof NEEDED;

const RIGHTS = Object.keys(NEEDED) as Right[];

/** Those that are not among a process's effective ones, as its status in /proc has them. */
export function lackingRights(status = readFileSync("/proc/self/status", "latin1")): Right[] {
  const [, effective = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return RIGHTS.filter((right) => !((BigInt(`0x${effective}`) >> BigInt(NEEDED[right])) & 1n));
}
