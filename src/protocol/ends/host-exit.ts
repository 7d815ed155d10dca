/** Exit codes of a lease's host process, by which its agent learns why it ended. */
export const HOST_EXIT = {
  /** A defect: an error that nothing caught on the host's own thread. */
  uncaught: 70,
  /** A function that had to be stopped did not come back from native code or WebAssembly. */
  stuck: 71,
  /** It cannot start for want of file descriptors. */
  noDescriptors: 72,
  /** It cannot start for want of another resource: its last lines say which. */
  noResources: 73,
} as const;

/** What a host process did that ended with `code`. */
export function describeExitCode(code: number): string {
  if (code === HOST_EXIT.stuck)
    return "was ended: a function did not come back from native code or WebAssembly after its deadline";
  if (code === HOST_EXIT.noDescriptors)
    return "had no file descriptors left (EMFILE); raise the node's limit (ulimit -n)";
  if (code === HOST_EXIT.noResources)
    return "could not start for want of memory, threads or disk; see the node's log";
  return `exited with code ${code}`;
}

/** What a host process did that ended before it was ready. */
export function describeHostEnd(end: { exitCode: number | null; signal: string | null }): string {
  if (end.signal === null) return describeExitCode(end.exitCode ?? 0);
  const shortage = ", as when it gets no threads or memory (ulimit -u, pids.max, ulimit -v)";
  return `was killed by ${end.signal}${end.signal === "SIGABRT" ? shortage : ""}`;
}
