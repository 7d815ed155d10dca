/**
 * How a host in a container gets its variables from an engine that runs in the node's own environment: in a file of the room that the container
 * does not show. What a lease names reaches the host alone: an engine that found it in its own environment would take it for a word of the
 * node's, down to which programs it runs. No command line shows a value.
 */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { HostStart } from "../driver.ts";

/** Engines read a file by lines of at most so many bytes, and know no way to quote. */
const LINE_BYTES = 64 * 1024 - 2;

/** By these, hooks that sites give their engines show a container devices and libraries of the machine's. */
const OF_HOOKS = /^(?:NVIDIA_|HABANA_|SARUS_|SLURM_|(?:AMD|CUDA|ROCR)_VISIBLE_DEVICES$|PMI_|PMIX_)/;

/** Why no container can have this variable; undefined when it can. */
export function whyOfHooks(name: string): string | undefined {
  return OF_HOOKS.test(name)
    ? `${name} tells hooks of the node's engine of containers which devices a room has, which is for the node to say; choose another name`
    : undefined;
}

/** Why an engine cannot be told this variable; undefined when it can. */
export function whyNotInFile(name: string, value: string): string | undefined {
  const why = whyOfHooks(name);
  if (why !== undefined) return why;
  if (/\n|\r$/.test(value))
    return `${name} has a line break, and the node's engine of containers takes a variable as one line; leave it out, or write it another way`;
  return Buffer.byteLength(`${name}=${value}`) > LINE_BYTES
    ? `${name} is longer than the ${LINE_BYTES} bytes that the node's engine of containers takes; shorten it, or pass it as the input of a call`
    : undefined;
}

const fileOf = ({ folders }: HostStart): string => join(dirname(folders!.scratch), "environment");

export const environmentOption = (start: HostStart): string[] => ["--env-file", fileOf(start)];

/** Writes the file, for the node's user alone. It goes with the room. Throws where an engine would read it as something else. */
export function writeEnvironment(start: HostStart): void {
  const lines = Object.entries(start.environment).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const why = whyNotInFile(name, value);
    if (why !== undefined) throw new Error(why);
    return [`${name}=${value}\n`];
  });
  writeFileSync(fileOf(start), lines.join(""), { mode: 0o600, flag: "wx" });
}
