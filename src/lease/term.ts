/**
 * A lease as its holder knows it: how long it lasts by the node's last message, and whether the node has announced to revoke it.
 * Pure, as the node's own account of it (`lease.ts`) is, and by the same rules.
 */
import { type Term, revokedTerm, termEndNs } from "./lease.ts";

export type HeldState = Term | { phase: "over" };

export type HeldEvent =
  /** The node says how long the lease goes on. */
  | { kind: "renewed"; atNs: number; leftNs: number }
  /** The holder asks for another time to live. */
  | { kind: "asked"; ttlNs: number }
  /** The node takes the lease back in so long, however often it is renewed. */
  | { kind: "revoked"; atNs: number; leftNs: number }
  /** The node takes back what it has said of a revocation, and the lease goes on for so long. */
  | { kind: "extended"; atNs: number; leftNs: number }
  /** However it came: released, lost, over. */
  | { kind: "over" };

/** A holder renews after a third of the lease's time, so that two renewals may fail. */
const RENEWALS_PER_TTL = 3;
const MIN_RENEWAL_NS = 1e6;

/** A lease that was granted now, and ends in `leftNs` unless it is renewed. */
export function holdLease(atNs: number, ttlNs: number, leftNs: number): HeldState {
  return { phase: "active", ttlNs, expiresAtNs: atNs + leftNs };
}

/** The next state. What comes after the end changes nothing. */
export function advanceHeld(state: HeldState, event: HeldEvent): HeldState {
  if (state.phase === "over") return state;
  switch (event.kind) {
    case "renewed":
      return { ...state, expiresAtNs: event.atNs + event.leftNs };
    case "asked":
      return { ...state, ttlNs: event.ttlNs };
    case "revoked":
      return revokedTerm(state, event.atNs + event.leftNs);
    case "extended":
      return { phase: "active", ttlNs: state.ttlNs, expiresAtNs: event.atNs + event.leftNs };
    case "over":
      return { phase: "over" };
  }
}

/** When it ends unless it is renewed; of one that is over, undefined. */
export function heldUntilNs(state: HeldState): number | undefined {
  return state.phase === "over" ? undefined : termEndNs(state);
}

/** When the node revokes it, in spite of renewals; Infinity when the node has not said so, or it is over. */
export function revokedAtNs(state: HeldState): number {
  return state.phase === "revoking" ? state.deadlineNs : Infinity;
}

/** How often its holder renews it; Infinity when it is over. */
export function renewalIntervalNs(state: HeldState): number {
  return state.phase === "over"
    ? Infinity
    : Math.max(MIN_RENEWAL_NS, state.ttlNs / RENEWALS_PER_TTL);
}
