/** Which leases a client or HTTP user of the manager may see. */
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { Admitted } from "./keys.ts";

/** A user who looks at leases and bills: at all of them, or at his own. */
export type Viewer = Pick<Admitted, "user" | "seesAll">;

/** The leases that a viewer may see. */
export function leasesFor(viewer: Viewer | undefined, leases: UsageReport[]): UsageReport[] {
  return viewer?.seesAll ? leases : leases.filter(({ user }) => user === viewer?.user);
}
