/** Errors of system calls for want of a resource, in words that name the resource and end with what to do. */
import { NativeError, ShimUnavailable } from "../../ffi/errors.ts";
import { EnvironmentError, RfaasError } from "./errors.ts";

/** By the code of the system call: what `who` lacks, and the remedy. */
const SHORTAGES: Record<string, readonly [problem: (who: string) => string, remedy: string]> = {
  EMFILE: [
    (who) => `${who} has no file descriptors left`,
    "raise its limit (ulimit -n), or close files and leases that are not needed",
  ],
  ENFILE: [
    () => "the machine has no file descriptors left",
    "raise fs.file-max, or end programs that are not needed",
  ],
  ETOOMANYREFS: [
    (who) => `the user of ${who} has too many descriptors on their way between its processes`,
    "end those of its programs that let them wait, or raise its limit (ulimit -n)",
  ],
  EAGAIN: [
    (who) => `${who} may start no more processes or threads`,
    "raise the limit of its user (ulimit -u) or of its cgroup (pids.max), or end some",
  ],
  ENOMEM: [
    (who) => `${who} gets no more memory`,
    "ask for less, free some on the machine, or raise its limit (ulimit -v, the cgroup's memory.max)",
  ],
  ENOSPC: [() => "the disk, or the memory that stands for one, is full", "free some of it"],
  EDQUOT: [() => "the quota of the disk is used up", "free some of it, or raise the quota"],
  EFBIG: [
    (who) => `${who} may make no file so large, and no shared memory`,
    "raise its limit (ulimit -f unlimited)",
  ],
  EROFS: [() => "the file system cannot be written", "choose another folder"],
};

/** What Bun and Node put in front of some messages. */
const CODE = /^[a-zA-Z ]*\b(E[A-Z]{3,})\b/;

/**
 * Explains a system call that failed for want of a resource: a clause that names the code and ends with what to do. `who` is the
 * process that met it: `"this program"`, `"the node"`.
 */
export function shortage(error: unknown, who: string): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = codeOf(cause);
    if (code === undefined) continue;
    const [problem, remedy] = SHORTAGES[code]!;
    return `${problem(who)} (${code}); ${remedy}`;
  }
  return undefined;
}

/** The error itself or, when a resource has run out, one that says so and names `what` failed. */
export function explained(error: unknown, what: string): unknown {
  if (error instanceof RfaasError) return error;
  if (error instanceof ShimUnavailable)
    return new EnvironmentError(error.message, { cause: error });
  const why = shortage(error, "this program") ?? refusal(error);
  return why === undefined ? error : new EnvironmentError(`${what}: ${why}`, { cause: error });
}

const refusal = (error: unknown): string | undefined => {
  if (!(error instanceof NativeError)) return undefined;
  const remedy =
    error.code === "EPERM"
      ? "the kernel, or a sandbox around this program, forbids it: functions in rooms have leases with network: true, over fabrics that share no memory, and those of a node with --sandbox none have all"
      : "rfaas doctor says what this machine lacks";
  return `${error.message}; ${remedy}`;
};

/**
 * Bun ends the whole program when it cannot get a descriptor for itself, so code that makes it open some asks here first.
 *
 * @throws {EnvironmentError} there are not so many left
 */
export function requireDescriptors(count: number, what: string): void {
  const why = shortageOfDescriptors("this program", count);
  if (why !== undefined) throw new EnvironmentError(`${what}: ${why}`);
}

/** As {@link shortage}, before an error: why this process cannot open `count` more descriptors. */
export function shortageOfDescriptors(who: string, count = 1): string | undefined {
  const { closeSync, openSync } = require("node:fs") as typeof import("node:fs");
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync("/dev/null", "r"));
    return undefined;
  } catch (error) {
    return shortage(error, who);
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function codeOf(error: Error): string | undefined {
  const { code, errno } = error as NodeJS.ErrnoException;
  const named = typeof errno === "number" ? systemName(Math.abs(errno)) : undefined;
  return [code, named, CODE.exec(error.message)?.[1]].find(
    (name) => typeof name === "string" && Object.hasOwn(SHORTAGES, name),
  );
}

/** Modules are loaded where something has failed: a host starts without them. */
function systemName(errno: number): string | undefined {
  const { constants } = require("node:os") as typeof import("node:os");
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
}
