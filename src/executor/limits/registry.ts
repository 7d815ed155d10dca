/** Which limiter a node has. */
import { EnvironmentError } from "../../base/errors.ts";
import { CgroupLimiter } from "./cgroup.ts";
import type { Limiter } from "./limiter.ts";
import { WatchLimiter } from "./watch.ts";

/** The variable that names one: `watch`, or `cgroup` for control groups of either version. */
export const LIMITS_VARIABLE = "RFAAS_LIMITS";

/**
 * The limiter that the environment names. Where it names none, control groups for a node that is no superuser's, since what that can write was
 * delegated to it; the superuser can write all of them, and must say so.
 *
 * @throws {EnvironmentError} control groups are asked for and cannot be had, or there is no such limiter
 */
export function limiterFor(
  named: string | undefined = process.env[LIMITS_VARIABLE],
  superuser: boolean = process.getuid?.() === 0,
): Limiter {
  if (named !== undefined && named !== "" && named !== "watch" && named !== "cgroup")
    throw new EnvironmentError(
      `${LIMITS_VARIABLE} is ${JSON.stringify(named)}; let it be watch or cgroup, or leave it out`,
    );
  if (named === "watch" || (!named && superuser)) return new WatchLimiter();
  const limiter = CgroupLimiter.in();
  if (!limiter && named === "cgroup")
    throw new EnvironmentError(
      `${LIMITS_VARIABLE} is cgroup, and no control group can be made; delegate one to the node (Delegate=yes of systemd), or leave it out`,
    );
  return limiter ?? new WatchLimiter();
}
