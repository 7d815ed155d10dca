/** How a node stops: leases may end by themselves after the first signal, and are ended by the second. */
import { countOf } from "../../base/units.ts";
import type { Listener } from "../../executor/admission/listen.ts";
import type { Agent } from "../../executor/agent/agent.ts";
import { log } from "../shared/log.ts";

export function drainOnSignal(
  agent: Agent,
  listener: Listener,
  limitMs: number,
  leave: () => Promise<void> | undefined,
): void {
  let signals = 0;
  const onSignal = (signal: string) => {
    if (++signals > 1) return agent.stop();
    const leases = agent.leaseCount;
    log.info(
      `${signal}: ${leases === 0 ? "no leases, stopping" : `waiting for ${countOf(leases, "lease")}, at most ${limitMs / 1000} s; again to stop now`}`,
    );
    const drained = agent.drain(limitMs);
    // The data of a lease that was granted a moment ago comes to the same port.
    const closed = agent.attended().then(() => listener.stop());
    void Promise.all([drained, closed])
      .then(leave)
      .then(() => process.exit(0));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
