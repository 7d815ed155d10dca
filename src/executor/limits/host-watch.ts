/** Looks at the host of a lease, as long as the lease lives, and ends the lease when the host is stopped or gives no sign of life. */
import type { LeasePage } from "../../../ffi/region.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { ALIVE, LOOKS_PER_TIMEOUT, type Liveness, lookAt } from "../../lease/liveness.ts";
import { DEFAULT_HOST_TIMEOUT_MS } from "../../protocol/fields.ts";
import { isStopped } from "../machine/process.ts";

/** What is watched of a lease. */
export interface WatchedHost {
  readonly host: { readonly pid: number };
  readonly shape: { readonly workers: number };
  readonly request: { readonly hostTimeoutMs?: number | undefined };
  end(reason: { kind: "host-unresponsive"; stopped: boolean; forMs: number }): void;
}

export class HostWatch {
  readonly #timer: Timer;
  #state: Liveness = ALIVE;
  /** Its client has asked after the lease since the last look. */
  #wanted = false;

  /** The host may be stopped, or leave a question open, for as long as the lease's request says, or else for `usualMs`. */
  constructor(
    lease: WatchedHost,
    page: Pick<LeasePage, "beat">,
    usualMs: number = DEFAULT_HOST_TIMEOUT_MS,
    clock: Clock,
    stopped: (pid: number) => boolean = isStopped,
  ) {
    const { workers } = lease.shape;
    const { hostTimeoutMs: timeoutMs = usualMs } = lease.request;
    this.#timer = clock.every(timeoutMs / LOOKS_PER_TIMEOUT, () => {
      const { beats, answered, active, running, moved } = page.beat(workers, false);
      const inFlight = active + running + (this.#wanted ? 1 : 0);
      this.#wanted = false;
      const look = { stopped: stopped(lease.host.pid), beats, answered, inFlight, moved };
      const [state, verdict] = lookAt(this.#state, look);
      this.#state = state;
      if (verdict === undefined) return;
      if (verdict === "ask") return void page.beat(workers, true);
      this.stop();
      lease.end({
        kind: "host-unresponsive",
        stopped: verdict === "stopped",
        forMs: timeoutMs,
      });
    });
    this.#timer.unref();
  }

  /** Its client asks after the lease: calls may wait that the host has not begun, since it is not there any more. */
  want(): void {
    this.#wanted = true;
  }

  /** The lease is over. */
  stop(): void {
    this.#timer.clear();
  }
}
