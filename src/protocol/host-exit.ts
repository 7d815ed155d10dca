/** Exit codes of a lease's host process: its last word to its agent. */
export const HOST_EXIT = {
  /** A defect: an error that nothing caught on the host's own thread. */
  uncaught: 70,
  /** A function that had to be stopped did not come back from native code or WebAssembly. */
  stuck: 71,
} as const;

/** What a host process did that ended with `code`. */
export function describeExitCode(code: number): string {
  if (code === HOST_EXIT.stuck)
    return "was ended: a function did not come back from native code or WebAssembly after its deadline";
  return `exited with code ${code}`;
}
