/** What the number beside a lease's end in its memory tells more of it. 0 tells nothing. */

/** Beside an end by time. */
export const EXPIRED = { token: 1, unredeemed: 2 } as const;
/** Beside an end that the node wanted. */
export const REVOKED = {
  stopping: 1,
  drained: 2,
  removed: 3,
  reloadFailed: 4,
  "token-revoked": 5,
  "token-expires": 6,
  "over-quota": 7,
} as const;

export function describeExpired(detail: number): string {
  if (detail === EXPIRED.token) return "the token that the lease was taken with has expired";
  return detail === EXPIRED.unredeemed
    ? "the program never said that it uses the lease"
    : "the lease expired: it was neither renewed nor used in time";
}

export function describeRevoked(detail: number): string {
  switch (detail) {
    case REVOKED.stopping:
      return "the node took the lease back: it was told to stop";
    case REVOKED.drained:
      return "the node took the lease back: an operator has drained it";
    case REVOKED.removed:
      return "the node took the lease back: an operator has removed it from its cluster";
    case REVOKED.reloadFailed:
      return "the node ended the lease: another build of its module could not be loaded";
    case REVOKED["over-quota"]:
      return "the node took the lease back: the core-hours of its user are used up";
    case REVOKED["token-expires"]:
      return "the node took the lease back: the token that it was taken with has expired";
    case REVOKED["token-revoked"]:
      return "the node took the lease back: the token that it was taken with was revoked";
    default:
      return "the node took the lease back";
  }
}
