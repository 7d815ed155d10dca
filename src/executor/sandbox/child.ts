/** A child process of the agent, which is a host or starts one. */
import { keepChild } from "../../base/process.ts";
import type { HostExit, HostStart } from "./driver.ts";
import { endOrphans } from "./orphans.ts";

export interface Child {
  pid: number;
  /** The agent's end of its descriptor 3. */
  control: number;
  kill(): void;
}

/** Starts it with the host's descriptors and environment. The host's `onExit` hears of its end, when all that it has started is gone, too. */
export function startChild(
  command: readonly string[],
  { descriptors, environment, onExit }: Pick<HostStart, "descriptors" | "environment" | "onExit">,
): Child {
  const child = Bun.spawn([...command], {
    // Functions' output is not data: it goes to the node's log.
    stdio: ["ignore", 2, 2, ...descriptors],
    env: { ...environment },
    onExit: (ended, exitCode, signal) => {
      const cpuTime = ended.resourceUsage()?.cpuTime.total;
      void endOrphans().then((orphansNs) => {
        const exit: HostExit = {
          exitCode,
          signal: signal === null ? null : String(signal),
          cpuNs: cpuTime === undefined ? undefined : 1000 * Number(cpuTime) + orphansNs,
        };
        onExit(exit);
      });
    },
  });
  keepChild(child);
  return {
    pid: child.pid,
    control: child.stdio[CONTROL_FD] as unknown as number,
    kill: () => child.kill("SIGKILL"),
  };
}

/** Bun's own copies of 0 to 2 aside, the control connection is the child's first descriptor. */
const CONTROL_FD = 3;
