/** How a host ends that is wanted no more, and has nothing to be ended for. */
import type { Clock } from "../../base/clock.ts";
import type { LeaseHost } from "./host-process.ts";

/** How long a host that is let go may take to exit. */
const DETACH_LIMIT_MS = 100;
/** The same when its module has a `dispose`: the workers bound that themselves. */
const DISPOSE_LIMIT_MS = 2500;

/** Lets a host finish its output and its module's `dispose`, then end; kills it when that takes too long. */
export function letGo(host: LeaseHost, disposes: boolean, clock: Clock): void {
  host.tell({ t: "detach" });
  const overdue = clock.after(disposes ? DISPOSE_LIMIT_MS : DETACH_LIMIT_MS, () => host.kill());
  void host.exited.then(() => overdue.clear());
}
