/** The memory of an endpoint under test. */
import { closeSync, openSync, writeSync } from "node:fs";
import { createRegion } from "../../ffi/region.ts";
import type { Shape } from "./conformance.ts";

/** Where `rfaas_lease_page` says when the lease was granted. */
const EPOCH_AT = 24;

/** Returns a descriptor that the caller closes. */
export function regionOf({ polling, slots, arenaBytes, spinNs = 0, agedMs }: Shape): number {
  const fd = createRegion({ workers: 1, slots, arenaBytes, polling, spinNs });
  if (agedMs !== undefined) {
    const raw = openSync(`/proc/self/fd/${fd}`, "r+");
    writeSync(
      raw,
      new BigUint64Array([process.hrtime.bigint() - 1_000_000n * BigInt(agedMs)]),
      0,
      8,
      EPOCH_AT,
    );
    closeSync(raw);
  }
  return fd;
}
