/** A child process of the agent, which is a host or starts one. */
import { constants } from "node:os";
import { keepChild } from "../../base/process.ts";
import type { HostStart } from "./driver.ts";
import { endOrphans } from "./orphans.ts";

export interface Child {
  pid: number;
  /** The agent's end of each of its descriptors from 3 on, where that is a pipe. */
  ends: readonly (number | undefined)[];
  kill(): void;
}

export interface ChildStart extends Pick<
  HostStart,
  "descriptors" | "output" | "environment" | "onExit"
> {
  /**
   * It starts the host, and exits as the host does: with 128 and the number of the signal that has killed it. It ignores the signals that
   * the host outlasts, as well as its own handlers let it.
   */
  wraps?: boolean;
}

/** What a shell adds to the number of a signal. */
const SIGNALLED = 128;

/** The host has them ignored, too, until it catches them. */
const DEAF = ["/bin/sh", "-c", 'trap "" TERM INT HUP; exec "$@"', "sh"];

/** Bun's own copies of 0 to 2 aside, a child's first descriptor. */
export const FIRST_FD = 3;

/** Starts it with the host's descriptors and environment. `onExit` hears of its end, when all that it has started is gone, too. */
export function startChild(
  command: readonly string[],
  { descriptors, output, environment, onExit, wraps = false }: ChildStart,
): Child {
  const child = Bun.spawn(wraps ? [...DEAF, ...command] : [...command], {
    // A session of its own: a terminal's and a batch system's signals to the node's group are for the agent.
    detached: true,
    stdio: ["ignore", output, output, ...descriptors],
    env: { ...environment },
    onExit: (ended, exitCode, signal) => {
      const cpuTime = ended.resourceUsage()?.cpuTime.total;
      const died = signal === null ? null : String(signal);
      void endOrphans().then((orphansNs) =>
        onExit({
          ...(wraps && died === null ? asWrapped(exitCode) : { exitCode, signal: died }),
          cpuNs: cpuTime === undefined ? undefined : 1000 * Number(cpuTime) + orphansNs,
        }),
      );
    },
  });
  keepChild(child);
  return {
    pid: child.pid,
    ends: child.stdio.slice(FIRST_FD).map((end) => (typeof end === "number" ? end : undefined)),
    kill: () => child.kill("SIGKILL"),
  };
}

function asWrapped(exitCode: number | null): { exitCode: number | null; signal: string | null } {
  const number = (exitCode ?? 0) - SIGNALLED;
  const [signal] = Object.entries(constants.signals).find(([, of]) => of === number) ?? [];
  return signal === undefined ? { exitCode, signal: null } : { exitCode: null, signal };
}
