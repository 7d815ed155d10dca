/** A lease's term as its holder sees it, in a time that the test lets pass. */
import { expect, test } from "bun:test";
import { LeaseTerm, type TermNode } from "../../src/client/lease/term.ts";
import { LeaseLost } from "../../src/base/errors.ts";
import type { UsageReply } from "../../src/protocol/lease-messages.ts";
import { untilAborted } from "../../src/base/waiting.ts";
import { TestClock } from "../support/clock.ts";

const NO_USAGE = { allocationCoreNs: 0, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 };

function held(ttlMs = 3000) {
  const clock = new TestClock();
  const asked: (number | null)[] = [];
  const answers: PromiseWithResolvers<void>[] = [];
  /** What the node answers to those who ask what it has cost; then it is lost. */
  const usages: UsageReply[] = [];
  const node: TermNode = {
    renew(_, ttl, signal) {
      asked.push(ttl);
      const answer = Promise.withResolvers<void>();
      answers.push(answer);
      return untilAborted(answer.promise, signal);
    },
    usage: async () => usages.shift() ?? Promise.reject(new LeaseLost("the connection was lost")),
  };
  const term = new LeaseTerm(node, 7, ttlMs, ttlMs, clock);
  const leftMs = (): number => term.expiresAt.getTime() - clock.wallMs();
  /** The node renews the lease, which was asked for once more. */
  const renewed = (expiresInMs: number): void => {
    term.renewed(expiresInMs);
    answers.shift()?.resolve();
  };
  return { clock, asked, term, leftMs, renewed, usages };
}

test("a lease is renewed three times in its time to live, until it is over", () => {
  const { clock, asked, term } = held(3000);
  clock.pass(2999);
  expect(asked).toEqual([null, null]);
  clock.pass(1);
  expect(asked).toEqual([null, null, null]);
  term.end({ type: "released" });
  clock.pass(60_000);
  expect(asked).toHaveLength(3);
  expect(clock.waiting).toBe(0);
});

test("it expires by the node's last word", () => {
  const { clock, term, leftMs } = held(3000);
  expect(leftMs()).toBe(3000);
  clock.pass(500);
  expect(leftMs()).toBe(2500);
  term.renewed(3000);
  expect(leftMs()).toBe(3000);
});

test("one that is asked to live longer is renewed less often", async () => {
  const { clock, asked, term, renewed } = held(300);
  const renewing = term.renew(30_000);
  renewed(30_000);
  await renewing;
  clock.pass(9_999);
  expect(asked).toEqual([30_000]);
  clock.pass(1);
  expect(asked).toEqual([30_000, null]);
});

test("a revocation refuses the calls that would not end in time, and no renewal takes it back", () => {
  const { clock, term, leftMs } = held(3000);
  expect(term.endsSoon).toBe(false);
  expect(term.refusal(1e9)).toBeUndefined();
  term.revoking(1000, "the node wants its cores back");
  term.renewed(3000);
  expect(term.endsSoon).toBe(true);
  expect(leftMs()).toBe(1000);
  expect(term.refusal(1000)).toBeUndefined();
  expect(term.refusal(1001)?.message).toContain("takes the lease back in 1000 ms");
  // A later deadline does not lengthen it, an earlier one counts.
  term.revoking(2000, "again");
  expect(leftMs()).toBe(1000);
  term.revoking(400, "sooner");
  expect(leftMs()).toBe(400);
  clock.pass(400);
  expect(term.refusal(0)?.message).toContain("has taken the lease back");
  // What ended it is told by the calls themselves.
  term.end({ type: "lost", message: "the lease is over: the node took it back" });
  expect(term.refusal(0)).toBeUndefined();
});

test("renewals that wait for their answer end with the lease, and later ones fail at once", async () => {
  const { term } = held();
  const waiting = term.renew(5000);
  term.end({ type: "lost", message: "its host process died" });
  const why = "its host process died; take a new lease";
  expect(await waiting.catch((error: Error) => error.message)).toBe(why);
  expect(await term.renew(null).catch((error: Error) => error.message)).toBe(why);
});

test("of several ends the first one counts, and whoever reads later still hears of it", async () => {
  const { term } = held();
  const heard: string[] = [];
  term.on("lost", ({ message }) => heard.push(message));
  term.on("released", () => heard.push("released"));
  term.end({ type: "lost", message: "first" });
  term.end({ type: "lost", message: "second" });
  term.end({ type: "released" });
  expect(heard).toEqual(["first"]);
  const events: string[] = [];
  for await (const { type } of term.events()) events.push(type);
  expect(events).toEqual(["lost"]);
});

test("what it has cost is what the node said last where that is lost, and nothing where it has said nothing yet", async () => {
  const { term, usages } = held();
  const silent = held().term;
  usages.push({ usage: { ...NO_USAGE, calls: 3 } });
  await term.usage();
  for (const lost of [term, silent]) lost.end({ type: "lost", message: "the node is gone" });
  expect(await term.usage()).toEqual({ ...NO_USAGE, calls: 3, state: "last-known" });
  expect(await silent.usage()).toEqual({ ...NO_USAGE, state: "last-known" });
});

test("what it has cost is live, then final where the node says so", async () => {
  const { term, usages } = held();
  usages.push({ usage: { ...NO_USAGE, calls: 3 } });
  expect(await term.usage()).toEqual({ ...NO_USAGE, calls: 3, state: "live" });
  term.end({ type: "lost", message: "its host died" });
  usages.push({ usage: { ...NO_USAGE, calls: 5 }, final: true });
  expect(await term.usage()).toEqual({ ...NO_USAGE, calls: 5, state: "final" });
});

test("its last sums stay final, though the node is gone when they are asked for again", async () => {
  const { term, usages } = held();
  term.end({ type: "lost", message: "its host died" });
  usages.push({ usage: { ...NO_USAGE, calls: 5 }, final: true });
  await term.usage();
  term.renewed(3000, { ...NO_USAGE, calls: 4 });
  for (let again = 0; again < 2; again++)
    expect(await term.usage()).toEqual({ ...NO_USAGE, calls: 5, state: "final" });
});

test("what a renewal has said of its cost is known when the node is lost, and of a released lease nothing", async () => {
  const told = held();
  told.term.renewed(3000, { ...NO_USAGE, calls: 7 });
  told.term.end({ type: "lost", message: "the node is gone" });
  expect(await told.term.usage()).toEqual({ ...NO_USAGE, calls: 7, state: "last-known" });
  const released = held();
  released.term.renewed(3000, NO_USAGE);
  released.term.end({ type: "released" });
  await expect(released.term.usage()).rejects.toThrow("the lease was released");
});
