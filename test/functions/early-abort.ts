/** A function that keeps its worker's thread busy, and one that waits for its caller to abort it. */
import type { RawFunction } from "rfaas/function";

const BUSY_MS = 150;

/** Holds the thread in a later turn of its event loop, and says so first. */
export const holds: RawFunction = async (_input, _output, { log }) => {
  await new Promise((resolve) => setImmediate(resolve));
  log.info("holds");
  const end = performance.now() + BUSY_MS;
  while (performance.now() < end);
  return 0;
};

export const waits: RawFunction = async (_input, _output, { invocation, log }) => {
  const { signal } = invocation;
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  log.info("stopped");
  return 0;
};
