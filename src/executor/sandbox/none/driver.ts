/** No sandbox: a host is a child of the agent, and its functions have all that the node's user has. */
import type { SandboxDriver } from "../driver.ts";
import { startChild } from "../child.ts";

export const none = {
  name: "none",
  rooms: false,
  images: "none",
  whyNot: () => undefined,
  guards: () => new Map(),
  start: (host) => {
    const child = startChild(host.command(process.pid), host);
    return { pid: child.pid, control: child.ends[0]!, kill: () => child.kill() };
  },
} as const satisfies SandboxDriver;
