/** Node and holder keep the term of one lease by the same rules: what holds whatever they say to each other, and however late. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type LeaseState, advanceLease, grantLease, termEndNs } from "../../src/lease/lease.ts";
import {
  type HeldState,
  advanceHeld,
  heldUntilNs,
  holdLease,
  renewalIntervalNs,
  revokedAtNs,
} from "../../src/lease/term.ts";

const step = fc.record({
  /** How long after the step before. */
  afterNs: fc.integer({ min: 0, max: 2000 }),
  /** How long the node's word takes to its holder. */
  delayNs: fc.integer({ min: 0, max: 500 }),
  what: fc.oneof(
    fc.record({ kind: fc.constant("renew" as const), ttlNs: fc.option(fc.nat(5000)) }),
    fc.record({ kind: fc.constant("revoke" as const), inNs: fc.nat(5000) }),
  ),
});

function used(state: LeaseState): Extract<LeaseState, { phase: "active" | "revoking" }> {
  if (state.phase === "active" || state.phase === "revoking") return state;
  throw new Error(`it is ${state.phase}`);
}

test("a holder expects its lease to last as long as its node does, but for what the node's word took", () => {
  fc.assert(
    fc.property(fc.nat(5000), fc.array(step, { maxLength: 20 }), (ttlNs, steps) => {
      let atNs = 0;
      let [node] = advanceLease(grantLease(0, ttlNs, 1000), { kind: "loaded", atNs });
      let holder: HeldState = holdLease(atNs, ttlNs, ttlNs);
      let mostDelayNs = 0;
      for (const { afterNs, delayNs, what } of steps) {
        atNs += afterNs;
        mostDelayNs = Math.max(mostDelayNs, delayNs);
        const heardNs = atNs + delayNs;
        if (what.kind === "renew") {
          const wish = what.ttlNs === null ? {} : { ttlNs: what.ttlNs };
          if (what.ttlNs !== null)
            holder = advanceHeld(holder, { kind: "asked", ttlNs: what.ttlNs });
          [node] = advanceLease(node, { kind: "renewed", atNs, ...wish });
          const leftNs = termEndNs(used(node)) - atNs;
          holder = advanceHeld(holder, { kind: "renewed", atNs: heardNs, leftNs });
        } else {
          [node] = advanceLease(node, { kind: "revoked", atNs, deadlineNs: atNs + what.inNs });
          holder = advanceHeld(holder, { kind: "revoked", atNs: heardNs, leftNs: what.inNs });
        }
        const nodeEndNs = termEndNs(used(node));
        expect(heldUntilNs(holder)).toBeGreaterThanOrEqual(nodeEndNs);
        expect(heldUntilNs(holder)).toBeLessThanOrEqual(nodeEndNs + mostDelayNs);
        expect(revokedAtNs(holder) < Infinity).toBe(node.phase === "revoking");
      }
    }),
  );
});

test("a revocation's deadline only comes nearer, and after the end nothing changes", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5000)), (deadlines) => {
      let holder = holdLease(0, 9000, 9000);
      for (const [i, leftNs] of deadlines.entries()) {
        holder = advanceHeld(holder, { kind: "revoked", atNs: 0, leftNs });
        expect(revokedAtNs(holder)).toBe(Math.min(...deadlines.slice(0, i + 1)));
      }
      const over = advanceHeld(holder, { kind: "over" });
      expect(advanceHeld(over, { kind: "renewed", atNs: 1, leftNs: 1 })).toBe(over);
      expect(heldUntilNs(over)).toBeUndefined();
      expect(renewalIntervalNs(over)).toBe(Infinity);
    }),
  );
});
