/**
 * The life of a lease, as a pure state machine: no I/O, time comes with the event, what must happen comes back as effects. Node and
 * simulator run this code; its holder, who knows less of it, keeps its term by the same rules (`term.ts`).
 *
 *     granted -> active -> (revoking) -> ended: released | expired | revoked | unredeemed | lost ...
 *
 * Every way to end gives the capacity back exactly once and stops the host exactly once.
 */

export type LeaseState =
  | { phase: "granted"; grantedAtNs: number; ttlNs: number; untilNs: number; loadByNs: number }
  | (Term & Active)
  | {
      phase: "ended";
      grantedAtNs: number;
      /** Undefined when it ended before its workers were ready. */
      activeAtNs: number | undefined;
      endedAtNs: number;
      reason: EndReason;
    };

/** How long a lease in use lasts: what its node and its holder both keep. */
export type Term = { ttlNs: number; expiresAtNs: number } & (
  | { phase: "active" }
  /** It ends then, however often it is renewed. */
  | { phase: "revoking"; deadlineNs: number }
);

interface Active {
  grantedAtNs: number;
  /** No renewal reaches beyond it. */
  untilNs: number;
  activeAtNs: number;
  /** Whether the client has said that it uses the lease. */
  redeemed: boolean;
  /** Why the node takes it back, where it does. */
  revokedBy?: Revoker | undefined;
  /** While its client's right ends first: the revocation that counts should the right be renewed. */
  laterRevocation?: { deadlineNs: number; by: Revoker | undefined } | undefined;
}

/**
 * Why a node takes leases back: it was told to stop, an operator has drained it, or has removed it from its cluster; or those of one user:
 * their token was revoked, or expires and can be renewed until then, or their core-hours are used up.
 */
export type Revoker =
  "stopping" | "drained" | "removed" | "token-revoked" | "token-expires" | "over-quota";

/** A bound of the node that a lease has crossed. */
export interface Excess {
  /** Memory besides the registered one, in bytes; or processes and threads. */
  what: "heap" | "tasks";
  used: number;
  bound: number;
  /** Of a heap: what of it were files, in its scratch folder. */
  files?: number;
  /** Of a heap: what of it the kernel held for its sockets and other descriptors. */
  sockets?: number;
}

/** Why a lease ended. */
export type EndReason =
  | { kind: "released" }
  | { kind: "client-gone" }
  | { kind: "expired" }
  | { kind: "token-expired" }
  | { kind: "unredeemed" }
  | { kind: "revoked"; by?: Revoker | undefined }
  | { kind: "over-budget" }
  | ({ kind: "over-limit" } & Excess)
  | { kind: "connection-lost"; message: string }
  | { kind: "load-failed" }
  | { kind: "load-timeout" }
  | { kind: "reload-failed"; message: string }
  | {
      kind: "host-died";
      exitCode: number | null;
      signal: string | null;
      /** Of one that was killed: whether the kernel may have done so for lack of memory. Default true. */
      starved?: boolean;
    }
  /** It was stopped, or has not answered its agent while calls were in flight. */
  | { kind: "host-unresponsive"; stopped: boolean; forMs: number }
  | { kind: "node-stopped" };

export type LeaseEvent =
  | { kind: "loaded"; atNs: number }
  | { kind: "redeemed"; atNs: number }
  /** The client asks for `ttlNs` from now on, or has been seen to call, which is as good. */
  | { kind: "renewed"; atNs: number; ttlNs?: number }
  | { kind: "revoked"; atNs: number; deadlineNs: number; by?: Revoker | undefined }
  /** Its client's right to it ends then: a newer token counts for longer, the key of the present one for less. */
  | { kind: "extended"; atNs: number; untilNs: number }
  /** Time has passed; the caller sends it at {@link dueAtNs}. */
  | { kind: "time"; atNs: number }
  | { kind: "ended"; atNs: number; reason: EndReason };

/** What the caller must do, in order. */
export type LeaseEffect =
  | "announce-grant"
  | "announce-revocation"
  | "announce-extension"
  | "stop-host"
  | "announce-loss"
  | "return-capacity";

/** So long before its client's right ends, a lease hears of that; of a lease with less time, a third of it before. */
export const RIGHT_WARNING_NS = 60e9;

/** A client that has not confirmed its lease by then loses it, however often it renews. */
export const REDEEM_LIMIT_NS = 10e9;

/**
 * `loadLimitNs` is how long its workers may take to be ready. `untilNs` is when its client's right to it
 * ends, however often the client renews it.
 */
export function grantLease(
  atNs: number,
  ttlNs: number,
  loadLimitNs: number,
  untilNs = Infinity,
): LeaseState {
  return { phase: "granted", grantedAtNs: atNs, ttlNs, untilNs, loadByNs: atNs + loadLimitNs };
}

/** When a lease ends that is neither renewed nor used from now on. */
export function termEndNs(term: Term): number {
  return term.phase === "revoking" ? Math.min(term.expiresAtNs, term.deadlineNs) : term.expiresAtNs;
}

/** A lease that is taken back by `deadlineNs`. Of several deadlines the first counts. */
export function revokedTerm<T extends Term>(
  term: T,
  deadlineNs: number,
): Omit<T, "phase"> & { phase: "revoking"; deadlineNs: number } {
  const first = term.phase === "revoking" ? Math.min(term.deadlineNs, deadlineNs) : deadlineNs;
  return { ...term, phase: "revoking", deadlineNs: first };
}

/** When a lease hears that its client's right to it ends, unless it has heard of an end before. */
function warnAtNs(state: Term & Active): number {
  const { untilNs, activeAtNs } = state;
  if (untilNs === Infinity) return Infinity;
  if (state.phase === "revoking" && state.deadlineNs <= untilNs) return Infinity;
  return untilNs - Math.min(RIGHT_WARNING_NS, Math.max(0, untilNs - activeAtNs) / 3);
}

/** When the lease must hear of the time, or undefined. */
export function dueAtNs(state: LeaseState): number | undefined {
  if (state.phase === "ended") return undefined;
  if (state.phase === "granted") return state.loadByNs;
  const endNs = Math.min(termEndNs(state), warnAtNs(state));
  return state.redeemed ? endNs : Math.min(endNs, state.activeAtNs + REDEEM_LIMIT_NS);
}

/** The next state and what to do. An event that comes after the end, or too early, changes nothing. */
export function advanceLease(state: LeaseState, event: LeaseEvent): [LeaseState, LeaseEffect[]] {
  if (state.phase === "ended") return [state, []];
  if (event.kind === "ended") return endLease(state, event.atNs, event.reason);
  if (state.phase === "granted") {
    const { grantedAtNs, ttlNs, untilNs } = state;
    if (event.kind === "revoked")
      return endLease(state, event.atNs, { kind: "revoked", by: event.by });
    if (event.kind === "time" && event.atNs >= state.loadByNs)
      return endLease(state, event.atNs, { kind: "load-timeout" });
    if (event.kind === "extended") return [{ ...state, untilNs: event.untilNs }, []];
    if (event.kind !== "loaded") return [state, []];
    const { atNs } = event;
    return [
      {
        phase: "active",
        grantedAtNs,
        ttlNs,
        untilNs,
        activeAtNs: atNs,
        expiresAtNs: Math.min(atNs + ttlNs, untilNs),
        redeemed: false,
      },
      ["announce-grant"],
    ];
  }
  switch (event.kind) {
    case "loaded":
      return [state, []];
    case "redeemed":
      return [{ ...state, redeemed: true }, []];
    case "renewed": {
      const { ttlNs = state.ttlNs } = event;
      const wanted = Math.max(state.expiresAtNs, event.atNs + ttlNs);
      const expiresAtNs = Math.min(wanted, state.untilNs);
      return [{ ...state, ttlNs, expiresAtNs }, []];
    }
    case "revoked":
      return [revokedState(state, event), ["announce-revocation"]];
    case "extended":
      return extended(state, event);
    case "time":
      return endIfDue(state, event.atNs);
  }
}

/** Of several revocations the first deadline counts, and the reason for it. */
function revokedState(
  state: LeaseState & { phase: "active" | "revoking" },
  { deadlineNs, by }: { deadlineNs: number; by?: Revoker | undefined },
): LeaseState {
  // A revocation stays when the right that ends before it is renewed.
  if (state.revokedBy === "token-expires" && state.phase === "revoking") {
    const { laterRevocation: later } = state;
    if (deadlineNs >= state.deadlineNs)
      return later && later.deadlineNs <= deadlineNs
        ? state
        : { ...state, laterRevocation: { deadlineNs, by } };
  }
  const counts = state.phase === "active" || deadlineNs < state.deadlineNs;
  const revoked = { ...revokedTerm(state, deadlineNs), revokedBy: counts ? by : state.revokedBy };
  if (by !== "token-expires" || state.phase === "active" || !counts) return revoked;
  return { ...revoked, laterRevocation: { deadlineNs: state.deadlineNs, by: state.revokedBy } };
}

/** The client's right ends at another time, mostly later: a lease that was to end for want of it goes on, unless it is revoked besides. */
function extended(
  state: LeaseState & { phase: "active" | "revoking" },
  { atNs, untilNs }: Extract<LeaseEvent, { kind: "extended" }>,
): [LeaseState, LeaseEffect[]] {
  const { ttlNs, laterRevocation: later } = state;
  const expiresAtNs = Math.min(Math.max(state.expiresAtNs, atNs + ttlNs), untilNs);
  const renewed = { ...state, untilNs, expiresAtNs };
  // Of an end that is sooner, it hears in time.
  if (state.phase === "active")
    return [renewed, untilNs < state.untilNs ? [] : ["announce-extension"]];
  // It ends as its client knows.
  if (state.revokedBy !== "token-expires") return [renewed, []];
  const { deadlineNs: _, ...term } = { ...renewed, phase: "revoking" as const, deadlineNs: 0 };
  const active = {
    ...{ ...term, phase: "active" as const },
    ...{ revokedBy: undefined, laterRevocation: undefined },
  };
  if (!later) return [active, ["announce-extension"]];
  return [revokedState(active, later), ["announce-extension", "announce-revocation"]];
}

function endIfDue(
  state: LeaseState & { phase: "active" | "revoking" },
  atNs: number,
): [LeaseState, LeaseEffect[]] {
  if (state.phase === "revoking" && atNs >= state.deadlineNs)
    return endLease(
      state,
      atNs,
      state.revokedBy === "token-expires"
        ? { kind: "token-expired" }
        : { kind: "revoked", by: state.revokedBy },
    );
  if (!state.redeemed && atNs >= state.activeAtNs + REDEEM_LIMIT_NS)
    return endLease(state, atNs, { kind: "unredeemed" });
  if (atNs >= state.expiresAtNs && state.expiresAtNs < state.untilNs)
    return endLease(state, atNs, { kind: "expired" });
  // Also one that is late: no lease ends for want of a right without having heard of it.
  if (atNs >= warnAtNs(state))
    return [
      revokedState(state, { deadlineNs: state.untilNs, by: "token-expires" }),
      ["announce-revocation"],
    ];
  return [state, []];
}

function endLease(
  state: Exclude<LeaseState, { phase: "ended" }>,
  endedAtNs: number,
  reason: EndReason,
): [LeaseState, LeaseEffect[]] {
  const activeAtNs = state.phase === "granted" ? undefined : state.activeAtNs;
  const ended: LeaseState = {
    phase: "ended",
    grantedAtNs: state.grantedAtNs,
    activeAtNs,
    endedAtNs,
    reason,
  };
  const clientAsked = reason.kind === "released" || reason.kind === "client-gone";
  return [
    ended,
    clientAsked
      ? ["stop-host", "return-capacity"]
      : ["announce-loss", "stop-host", "return-capacity"],
  ];
}
