/**
 * The life of a lease, as a pure state machine: no I/O, time comes with the event, what must happen comes back as effects.
 *
 *     granted -> active -> released | lost
 *
 * Every way to end gives the capacity back exactly once and stops the host exactly once.
 */

export type LeaseState =
  | { phase: "granted"; grantedAtNs: number }
  | { phase: "active"; grantedAtNs: number; activeAtNs: number }
  | { phase: "ended"; grantedAtNs: number; endedAtNs: number; reason: EndReason };

/** Why a lease ended. */
export type EndReason =
  | { kind: "released" }
  | { kind: "client-gone" }
  | { kind: "connection-lost"; message: string }
  | { kind: "load-failed" }
  | { kind: "host-died"; exitCode: number | null; signal: string | null }
  | { kind: "node-stopped" };

export type LeaseEvent =
  { kind: "loaded"; atNs: number } | { kind: "ended"; atNs: number; reason: EndReason };

/** What the caller must do, in order. */
export type LeaseEffect = "announce-grant" | "stop-host" | "announce-loss" | "return-capacity";

export function grantLease(atNs: number): LeaseState {
  return { phase: "granted", grantedAtNs: atNs };
}

/** The next state and what to do. An event that comes after the end changes nothing. */
export function advanceLease(state: LeaseState, event: LeaseEvent): [LeaseState, LeaseEffect[]] {
  if (state.phase === "ended") return [state, []];
  if (event.kind === "loaded") {
    if (state.phase === "active") return [state, []];
    return [{ ...state, phase: "active", activeAtNs: event.atNs }, ["announce-grant"]];
  }
  const ended: LeaseState = {
    phase: "ended",
    grantedAtNs: state.grantedAtNs,
    endedAtNs: event.atNs,
    reason: event.reason,
  };
  const clientAsked = event.reason.kind === "released" || event.reason.kind === "client-gone";
  return [
    ended,
    clientAsked
      ? ["stop-host", "return-capacity"]
      : ["announce-loss", "stop-host", "return-capacity"],
  ];
}
