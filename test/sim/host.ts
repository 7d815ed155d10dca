/** The host process of one lease. It dies with its agent at the latest (PR_SET_PDEATHSIG). */
import type { HostDoor } from "./messages.ts";

export class Host implements HostDoor {
  gone = false;
  calls = 0;
  executionNs = 0;

  call(calls: number, executionNs: number): boolean {
    if (this.gone) return false;
    this.calls += calls;
    this.executionNs += executionNs;
    return true;
  }
}
