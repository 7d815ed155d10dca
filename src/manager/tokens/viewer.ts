/** Which leases somebody may see who asks the manager. */
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { Admitted } from "./keys.ts";

/** Whoever looks at leases and bills: at all, or at his own. */
export type Viewer = Pick<Admitted, "user" | "seesAll">;

/** The leases that a viewer may see. */
export function leasesFor(viewer: Viewer | undefined, leases: UsageReport[]): UsageReport[] {
  return viewer?.seesAll ? leases : leases.filter(({ user }) => user === viewer?.user);
}
