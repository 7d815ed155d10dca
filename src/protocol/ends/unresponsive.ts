/** That a host was stopped, or did not answer its agent: in words, and as the number beside a lease's end in its memory. */

/** A number for each: negative, where the process was stopped. */
export const packUnresponsive = (stopped: boolean, forMs: number): number =>
  stopped ? -forMs : forMs;

export const unpackUnresponsive = (detail: number): [stopped: boolean, forMs: number] => [
  detail < 0,
  Math.abs(detail),
];

export function describeUnresponsive(stopped: boolean, forMs: number): string {
  const allowed = `for the ${forMs} ms that hostTimeoutMs (--host-timeout) allows`;
  return stopped
    ? `its host process was stopped by a signal (SIGSTOP, or a debugger) ${allowed}`
    : `its host process gave no sign of life ${allowed}, with calls in flight: it was frozen, hung in the kernel or got no processor`;
}
