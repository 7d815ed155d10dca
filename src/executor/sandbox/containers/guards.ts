/** What every container guards. */
import type { Guard } from "../driver.ts";

/** `files` is the layer by which a room sees no files but its own. */
export const containerGuards = (files: string): Map<Guard, string> =>
  new Map<Guard, string>([
    ["files", files],
    ["processes", "pid namespace"],
    ["sockets", "network namespace and seccomp"],
    ["programs", "seccomp"],
    ["memory", "the node's watch"],
    ["descriptors", "close-on-exec"],
  ]);
