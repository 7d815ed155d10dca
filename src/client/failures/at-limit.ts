import { LeaseRefused } from "../../base/errors.ts";

/** The error of a request for which its user's other leases left too little of a limit; `waitedMs` is how long it has waited, undefined when it did not. */
export function atLimit(why: LeaseRefused, waitedMs: number | undefined): LeaseRefused {
  if (waitedMs === undefined) return why;
  const { code, message, limit } = why;
  return new LeaseRefused(
    code,
    `other leases of the user, which use up its limit, have not ended within ${waitedMs} ms: ${message}`,
    { cause: why, limit },
  );
}
