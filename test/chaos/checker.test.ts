/** The rules of histories: one that breaks none, and for each rule some that break it alone. */
import { describe, expect, test } from "bun:test";
import { RULES, type Rule, check } from "./checker.ts";
import type { Billed, CallEnded, Happened } from "./history.ts";

const at = (t: number, by = "c") => ({ t, by });
const bill = (more: Partial<Billed> = {}): Billed => ({
  ...at(9000),
  ...{ e: "bill", project: "c1-1", lease: "i/1", node: "n0", user: "ada", workers: 1 },
  ...{ startedAtMs: 1010, endedAtMs: 2010, reason: "released", presumed: false },
  ...{ coreNs: 1e9, calls: 2 },
  ...more,
});
const end = (call: number, more: Partial<CallEnded> = {}): CallEnded => ({
  ...{ ...at(1500 + call), e: "end", client: 1, call, outcome: "result", right: true },
  ...more,
});
const call = (call: number, more = {}): Happened => ({
  ...{ ...at(1200 + call), e: "call", client: 1, call, project: "c1-1", kind: "submit" },
  ...more,
});
const effect = (call: number): Happened => ({ ...at(1300 + call), e: "effect", client: 1, call });
const exit = (who: string, more = {}): Happened => ({
  ...{ ...at(3000), e: "exit", who, meant: true, code: 0, signal: null },
  ...more,
});

const NO_DESCRIPTORS = "error: bun ran out of file descriptors (ProcessFdQuotaExceeded)";

/** Two calls on a lease, after the last fault. */
const SOUND: readonly Happened[] = [
  { ...at(900), e: "start", who: "n0", version: "this" },
  { ...at(950), e: "calm" },
  { ...at(1000), e: "client", client: 1, kind: "async", version: "this" },
  { ...at(1000), e: "ask", client: 1, project: "c1-1", workers: 1 },
  { ...at(1100), e: "lease", project: "c1-1", parts: [{ node: "n0", workers: 1, fabric: "shm" }] },
  ...[call(1), effect(1), end(1), call(2), effect(2), end(2)],
  { ...at(2020), e: "lease-over", project: "c1-1", how: "released" },
  { ...at(2900), e: "done", client: 1 },
  exit("client-1", { client: 1 }),
  bill(),
];

/** The sound history, of which some events are others, or gone. */
const instead = (of: (each: Happened) => boolean, ...others: readonly Happened[]): Happened[] => [
  ...SOUND.filter((each) => !of(each)),
  ...others,
];
const isEnd = (call: number) => (each: Happened) => each.e === "end" && each.call === call;
const isBill = ({ e }: Happened): boolean => e === "bill";
const plus = (...others: Happened[]): Happened[] => [...SOUND, ...others];
const lost = { right: undefined, code: "RFAAS_WORKER_LOST", message: "lost" } as unknown as object;
const mayHaveRun = (call: number) => end(call, { outcome: "may-have-run", ...lost });

const BROKEN: readonly (readonly [Rule, string, readonly Happened[]])[] = [
  ["every call has an outcome", "a call ends in no way", instead(isEnd(1))],
  ["a call has one outcome", "a call has a result twice", plus(end(1))],
  ["a call has one outcome", "a call has a result and is lost", plus(mayHaveRun(1))],
  [
    "a call runs at most once",
    "a call has a result and has run twice",
    instead(isBill, effect(1), bill({ calls: 3 })),
  ],
  [
    "a call runs at most once",
    "a call that may have run has run twice",
    instead((each) => isEnd(1)(each) || isBill(each), mayHaveRun(1), effect(1), bill({ calls: 3 })),
  ],
  [
    "a result means that the function ran",
    "there is a result, and no function ran",
    instead((each) => (each.e === "effect" && each.call === 1) || isBill(each), bill({ calls: 1 })),
  ],
  [
    "a result is the function's answer",
    "a result is another one's",
    instead(isEnd(1), end(1, { right: false })),
  ],
  [
    "what did not run has no effect",
    "a call that did not run has run",
    instead(isEnd(1), end(1, { outcome: "did-not-run", ...lost })),
  ],
  [
    "errors are explained",
    "a call ends with an error of the engine's",
    instead(isEnd(1), end(1, { outcome: "may-have-run", code: "TypeError", message: "x" })),
  ],
  [
    "errors are explained",
    "a lease is refused for a message that is malformed",
    plus({ ...at(1000), e: "no-lease", project: "c1-2", code: "RFAAS_PROTOCOL", message: "x" }),
  ],
  [
    "effects are of calls",
    "a function runs for nobody",
    plus({ ...at(1300), e: "effect", client: 1, call: 7 }),
  ],
  ["a lease is on the bill", "no bill has the lease", instead(isBill)],
  ["a lease is on the bill", "another node's bill has it", instead(isBill, bill({ node: "n1" }))],
  ["a bill is final", "it goes on", instead(isBill, bill({ endedAtMs: null, reason: null }))],
  [
    "a bill is final",
    "it is presumed, though its node wrote it down",
    instead(
      isBill,
      exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
      bill({ presumed: true }),
    ),
  ],
  [
    "a lease is billed once on each node",
    "two bills share its calls",
    instead(isBill, bill({ calls: 1 }), bill({ lease: "i/2", calls: 1 })),
  ],
  ["a bill has the calls that ran", "one is missing", instead(isBill, bill({ calls: 1 }))],
  ["a bill has the calls that ran", "one is too many", instead(isBill, bill({ calls: 3 }))],
  [
    "a bill has the cores that were held",
    "the cores are not those of its time",
    instead(isBill, bill({ coreNs: 3e9 })),
  ],
  [
    "a bill has the cores that were held",
    "it ends long after the release",
    instead(isBill, bill({ endedAtMs: 5010, coreNs: 4e9 })),
  ],
  [
    "a bill has the cores that were held",
    "it ends long before its last call",
    instead(
      (each) => (each.e === "effect" && each.call === 2) || isBill(each),
      ...[{ ...effect(2), t: 2900 }, bill()],
    ),
  ],
  [
    "a bill has the cores that were held",
    "it begins before it was asked for",
    instead(isBill, bill({ startedAtMs: 10, coreNs: 2e9 })),
  ],
  [
    "managers have the same bills",
    "one has another number of calls",
    instead(isBill, bill({ ledger: "manager" }), bill({ ledger: "standby", calls: 1 })),
  ],
  [
    "managers have the same bills",
    "one lacks a lease",
    instead(
      isBill,
      ...[bill({ ledger: "manager" }), bill({ ledger: "manager", lease: "i/2", calls: 0 })],
      bill({ ledger: "standby" }),
    ),
  ],
  [
    "managers have the same bills",
    "etcd has one that no ledger has",
    instead(isBill, bill({ ledger: "manager" }), bill({ ledger: "etcd", lease: "i/2" })),
  ],
  [
    "a lease is on the bill",
    "the bill lacks a part that has come in the place of another",
    plus({
      ...{ ...at(1400), e: "replaced", project: "c1-1" },
      part: { node: "n1", workers: 1, fabric: "tcp" },
    }),
  ],
  [
    "everything ends when it is told to",
    "a client hangs",
    plus({ ...at(2000), e: "stuck", who: "client-2", what: "does not end" }),
  ],
  [
    "nothing ends by itself",
    "a node crashes",
    plus(exit("n1", { meant: false, code: null, signal: "SIGSEGV" })),
  ],
  [
    "nothing ends by itself",
    "a client fails as it ends",
    plus(exit("client-2", { client: 2, code: 1 })),
  ],
  [
    "clients get on when all is well",
    "a client got nothing any more",
    plus({ ...at(2900), e: "done", client: 2 }),
  ],
  ["nothing is left", "a process is left", plus({ ...at(3000), e: "left", what: "process 7" })],
];

describe("a history", () => {
  test("that is sound breaks no rule", () => {
    expect(check(SOUND)).toEqual([]);
  });

  test.each(BROKEN)("breaks the rule that %s when %s", (rule, _, history) => {
    expect(new Set(check(history).map((violation) => violation.rule))).toEqual(new Set([rule]));
  });

  test("has some that break each rule", () => {
    expect(new Set(BROKEN.map(([rule]) => rule))).toEqual(new Set(RULES));
  });
});

describe("no rule is broken by", () => {
  const allowed: readonly (readonly [string, readonly Happened[]])[] = [
    [
      "two ledgers that have the same bills, of which etcd has some no more",
      instead(
        isBill,
        ...["manager", "standby"].flatMap((ledger) => [
          bill({ ledger }),
          bill({ ledger, lease: "i/2", calls: 0 }),
        ]),
        bill({ ledger: "etcd" }),
      ),
    ],
    [
      "a part in the place of a lost one, on the same node, with bills of both",
      instead(
        isBill,
        {
          ...{ ...at(1400), e: "replaced", project: "c1-1" },
          part: { node: "n0", workers: 1, fabric: "shm" },
        },
        ...[bill({ calls: 1 }), bill({ lease: "i/2", calls: 1 })],
      ),
    ],
    [
      "a killed client, whose calls have no outcome",
      instead(
        (each) => isEnd(1)(each) || each.e === "exit" || each.e === "done",
        exit("client-1", { client: 1, code: null, signal: "SIGKILL" }),
      ),
    ],
    ["a call that may have run, and has", instead(isEnd(1), mayHaveRun(1))],
    [
      "a call that may have run, and has not",
      instead(
        (each) => isEnd(1)(each) || (each.e === "effect" && each.call === 1) || isBill(each),
        ...[mayHaveRun(1), bill({ calls: 1 })],
      ),
    ],
    [
      "an idempotent call that ran twice",
      instead(
        (each) => (each.e === "call" && each.call === 1) || isBill(each),
        ...[call(1, { idempotent: true }), effect(1), bill({ calls: 3 })],
      ),
    ],
    [
      "a presumed bill of a node whose disk was full when it died",
      instead(
        isBill,
        { ...at(1400), e: "fault", fault: "full disk", target: "disk of n0" },
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
        { ...at(2500), e: "fault", fault: "disk has room", target: "disk of n0" },
        bill({ presumed: true, reason: "node-lost" }),
      ),
    ],
    [
      "a bill of a node where there was no lease in the end, with calls on another one whose disk was full when it died",
      instead(
        (each) =>
          isBill(each) ||
          each.e === "lease-over" ||
          (each.e === "effect" && each.call === 2) ||
          isEnd(2)(each),
        ...[{ ...effect(2), t: 4900 }, end(2, { t: 4910 })],
        { ...at(1110), e: "fault", fault: "full disk", target: "disk of n0" },
        exit("n0", { t: 5000, signal: "SIGKILL", code: null }),
        bill({ node: "n1", endedAtMs: 1040, coreNs: 3e7, calls: 0 }),
      ),
    ],
    [
      "what an earlier manager has of a node that was killed, as long as it does",
      instead(
        isBill,
        { ...at(890), e: "start", who: "manager", version: "3f577d1" },
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
        bill({ reason: "node-lost", coreNs: 1.8e9 }),
      ),
    ],
    [
      "a pool's worker on a node that died with a full disk, and is on no bill",
      instead(
        (each) => isBill(each) || each.e === "lease",
        { ...at(1100), e: "lease", project: "c1-1", parts: [] },
        { ...at(1400), e: "fault", fault: "full disk", target: "disk of n1" },
        exit("n1", { t: 1900, signal: "SIGKILL", code: null }),
        bill({ calls: 1 }),
      ),
    ],
    [
      "a lease that is on no bill, as its node of an earlier version was killed right after",
      instead(
        (each) => isBill(each) || each.e === "start",
        { ...at(900), e: "start", who: "n0", version: "3f577d1" },
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
      ),
    ],
    [
      "a lease that is on no bill, as its node's disk did not answer until it was killed",
      instead(
        isBill,
        { ...at(1050), e: "fault", fault: "frozen disk", target: "disk of n0" },
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
      ),
    ],
    [
      "a client whose runtime has no descriptors for its modules",
      instead(
        (each) => isEnd(1)(each) || each.e === "exit" || each.e === "done",
        exit("client-1", { client: 1, code: 1, meant: false, log: NO_DESCRIPTORS }),
      ),
    ],
    [
      "a bill of a node that was killed, which had noted it a second before",
      instead(
        (each) => isBill(each) || (each.e === "effect" && each.call === 2) || isEnd(2)(each),
        ...[{ ...effect(2), t: 1900 }, end(2, { t: 1910 })],
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
        bill({ reason: "node-lost", endedAtMs: 1010, coreNs: 0, calls: 0 }),
      ),
    ],
    [
      "one that ends with what the manager, which stood still, had heard last",
      instead(
        (each) => isBill(each) || (each.e === "effect" && each.call === 2) || isEnd(2)(each),
        ...[{ ...effect(2), t: 1900 }, end(2, { t: 1910 })],
        { ...at(1110), e: "fault", fault: "full disk", target: "disk of n0" },
        exit("n0", { t: 2000, signal: "SIGKILL", code: null }),
        { ...at(2500), e: "fault", fault: "disk has room", target: "disk of n0" },
        bill({ presumed: true, reason: "node-lost", endedAtMs: 1110, coreNs: 1e8, calls: 0 }),
      ),
    ],
  ];
  test.each(allowed)("%s", (_, history) => {
    expect(check(history)).toEqual([]);
  });
});
