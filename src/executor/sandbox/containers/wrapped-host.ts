/** A host that is the first process of a namespace below the program that has made its container, and ends with that. */
import { startChild } from "../child.ts";
import type { HostStart, StartedHost } from "../driver.ts";
import { firstProcessUnder } from "./first-process.ts";

export function startWrapped(line: readonly string[], host: HostStart): StartedHost {
  const child = startChild(line, { ...host, wraps: true });
  let pid: number | undefined;
  return {
    control: child.ends[0]!,
    get pid() {
      return (pid ??= firstProcessUnder(child.pid)!);
    },
    // The program may not have started the host yet.
    kill: () => child.kill(),
  };
}
