/** Why a program that makes containers cannot be used on this machine. */
import type { Finding } from "../../../base/finding.ts";

export interface Tried {
  /** The sandbox. */
  name: string;
  /** What does not work, a clause, and what would let it. */
  found: string;
  fix: string;
}

export const lackOf = ({ name, found, fix }: Tried): Finding => ({
  ...{ name, state: "off" },
  ...{ found, fix },
});

/** What is lacking where a command fails, with the last line of what it says; undefined where it does not. */
export function lackIfFails(command: readonly string[], tried: Tried): Finding | undefined {
  const { exitCode, stderr } = Bun.spawnSync([...command], { stdio: ["ignore", "ignore", "pipe"] });
  if (exitCode === 0) return undefined;
  return lackOf({ ...tried, found: `${tried.found} (${lastLineOf(stderr)})` });
}

export const lastLineOf = (said: Uint8Array): string =>
  new TextDecoder().decode(said).trim().split("\n").at(-1)!;
