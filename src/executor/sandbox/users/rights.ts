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
export type Right = keyof typeof NEEDED;

/** Those that the agent itself takes, whichever driver makes its rooms. */
const OF_AGENT: readonly Right[] = ["CHOWN", "KILL", "SYS_PTRACE", "SYS_NICE"];

/** Those of the agent, and these, that are not among a process's effective ones, as its status in /proc has them. */
export function lackingRights(
  besides: readonly Right[],
  status = readFileSync("/proc/self/status", "latin1"),
): Right[] {
  const [, effective = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  const needed = (Object.keys(NEEDED) as Right[]).filter(
    (right) => OF_AGENT.includes(right) || besides.includes(right),
  );
  return needed.filter((right) => !((BigInt(`0x${effective}`) >> BigInt(NEEDED[right])) & 1n));
}

/** Why the node can neither look at hosts of other users nor end them, nor make them with the rights that its driver needs besides. */
export function whyNoRights(besides: readonly Right[] = []): string | undefined {
  const lacking = lackingRights(besides);
  return lacking.length === 0
    ? undefined
    : `the node lacks the capabilities ${lacking.join(", ")}, by which it makes hosts of other users, looks at them and ends them; start it with these`;
}
