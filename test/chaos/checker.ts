/** What must hold of every history, whatever the faults were: a pure function of it. */
import { type Facts, factsOf, versionOf } from "./facts.ts";
import { type Billed, type CallEnded, ETCD, type Exited, type History } from "./history.ts";

export const RULES = [
  "every call has an outcome",
  "a call has one outcome",
  "a call runs at most once",
  "a result means that the function ran",
  "a result is the function's answer",
  "what did not run has no effect",
  "errors are explained",
  "effects are of calls",
  "a lease is on the bill",
  "a bill is final",
  "a lease is billed once on each node",
  "a bill has the calls that ran",
  "a bill has the cores that were held",
  "managers have the same bills",
  "everything ends when it is told to",
  "nothing ends by itself",
  "clients get on when all is well",
  "nothing is left",
] as const;
export type Rule = (typeof RULES)[number];

export interface Violation {
  rule: Rule;
  what: string;
  /** When, and of which client and call, where it is of one. */
  t: number;
  client?: number;
  call?: number;
}

/** Why a client may get no lease, or lose one, while there are faults: all that is not in this list is a fault of rfaas. */
const EXPLAINED_ERRORS = [
  /^RFAAS_(?:LEASE_LOST|WORKER_LOST|CONNECTION_LOST|NODE_UNREACHABLE|CONNECTION_FAILED|DEADLINE_EXCEEDED)$/,
  /^RFAAS_(?:CLUSTER_FULL|NODE_FULL|NODE_DRAINING|INVOKER_CLOSED)$/,
  /^ABORTED$/,
];

/**
 * Versions with known faults: their nodes write a lease down only within its first second, bill calls that were refused, and end a lease later
 * than its cores were free when the disk of their cache does not answer; to their ledgers a lease ends with its node's death by what that had
 * noted, and its cores as the manager had heard.
 */
const WITH_FAULTS = ["3f577d1"];

/** Who is killed writes no more; by so much later its end is known, and a node that runs has looked at its leases meanwhile. */
const DEATH_MS = 2500;

/**
 * How far the bill may differ from what a client sees: a client hears of the grant, and of the end, later than its node, and more so on a
 * machine that is busy. A node looks ten times a second.
 */
const HELD_TOLERANCE_MS = 500;

/** The bill of a node that was killed is what it had noted last. */
const NOTED_MS = 1000;

/** What is told of faults of the run: a host that was killed, a disk that is full, descriptors that are missing. */
const EXPLAINED_BY_WORDS: Readonly<Record<string, RegExp>> = {
  RFAAS_MODULE_FAILED:
    /^the host process died while it loaded the module: killed by SIG|its host process was stopped by a signal|: EMFILE reading file: /,
  RFAAS_NODE_REFUSES: /(?:^|: )the manager cannot keep the bill \(/,
  RFAAS_ENVIRONMENT: /no file descriptors left \(EMFILE\)/,
};

/** What does not start on a full disk says so, and is started again. */
const NO_ROOM =
  /ERROR\s+(?:EnvironmentError|LedgerUnavailable): .*(?:\(ENOSPC\)|make room on its disk)/;

/** The runtime itself ends a program that gets no descriptor to read its modules. */
const NO_DESCRIPTORS = /bun ran out of file descriptors/;

const isExplainedEnd = ({ client, log = "" }: Exited): boolean =>
  NO_ROOM.test(log) || (client !== undefined && NO_DESCRIPTORS.test(log));

/** What is wrong with a history; nothing is where all rules hold. */
export function check(history: History): Violation[] {
  const facts = factsOf(history);
  return [
    ...callsOf(facts),
    ...effectsOf(history, facts),
    ...billsOf(facts),
    ...processesOf(history, facts),
  ];
}

type Say = (rule: Rule, what: string) => void;

function callsOf({ calls, ends, effects, killed }: Facts): Violation[] {
  const violations: Violation[] = [];
  for (const [key, made] of calls) {
    const { t, client, call, kind, project, idempotent = false } = made;
    const say: Say = (rule, what) => {
      const of = `call ${call} of client ${client} (${kind}, lease ${project}) ${what}`;
      violations.push({ rule, what: of, t, client, call });
    };
    const told = ends.get(key) ?? [];
    const ran = effects.get(key) ?? 0;
    if (told.length === 0 && !killed.has(client)) say("every call has an outcome", "has none");
    if (told.length > 1)
      say("a call has one outcome", `has ${told.map(({ outcome }) => outcome).join(" and ")}`);
    if (ran > 1 && !idempotent) say("a call runs at most once", `ran ${ran} times`);
    for (const end of told) {
      if (end.outcome === "result") resultOf(end, ran, say);
      else failureOf(end, idempotent ? 0 : ran, say);
    }
  }
  return violations;
}

function resultOf({ right }: CallEnded, ran: number, say: Say): void {
  if (ran === 0) say("a result means that the function ran", "has a result and no effect");
  if (right !== true) say("a result is the function's answer", "has another answer");
}

function failureOf({ outcome, code, message }: CallEnded, ran: number, say: Say): void {
  if (outcome === "did-not-run" && ran > 0)
    say("what did not run has no effect", `did not run (${message}), and ran ${ran} times`);
  if (outcome === "unexplained" || (code !== undefined && !isExplained(code, message)))
    say("errors are explained", `ended with ${code}: ${message}`);
}

const isExplained = (code: string, message = ""): boolean =>
  EXPLAINED_ERRORS.some((known) => known.test(code)) ||
  (EXPLAINED_BY_WORDS[code]?.test(message) ?? false);

function effectsOf(history: History, { calls, effects }: Facts): Violation[] {
  const unknown: Violation[] = [];
  for (const key of effects.keys())
    if (!calls.has(key))
      unknown.push({ rule: "effects are of calls", what: `nobody has made call ${key}`, t: 0 });
  for (const each of history)
    if (each.e === "no-lease" && !isExplained(each.code, each.message))
      unknown.push({
        ...{ rule: "errors are explained", t: each.t },
        what: `${each.by} got no lease ${each.project}: ${each.code}: ${each.message}`,
      });
  return unknown;
}

function billsOf(facts: Facts): Violation[] {
  const violations: Violation[] = [];
  for (const [project, { t, parts }] of facts.taken) {
    const bills = facts.bills.get(project) ?? [];
    for (const [node, since = t] of new Map(parts.map((part) => [part.node, part.t])))
      if (!bills.some((bill) => bill.node === node) && !isExcused(facts, node, since, DEATH_MS))
        violations.push({
          ...{ rule: "a lease is on the bill", t },
          what: `lease ${project} on ${node} is on no bill`,
        });
  }
  violations.push(...copiesOf(facts));
  for (const [project, bills] of facts.bills) violations.push(...billOf(project, bills, facts));
  return violations;
}

/** What etcd still has is in each ledger, and each ledger has the same. */
function copiesOf({ copies }: Facts): Violation[] {
  const [[first, own] = ["", new Map<string, string>()], ...others] = copies;
  return others.flatMap(([name, copy]) => {
    const leases = new Set([...(name === ETCD ? [] : own.keys()), ...copy.keys()]);
    return [...leases]
      .filter((lease) => own.get(lease) !== copy.get(lease))
      .map((lease) => ({
        ...({ rule: "managers have the same bills", t: 0 } as const),
        what: `of lease ${lease} ${first} has ${own.get(lease)} and ${name} ${copy.get(lease)}`,
      }));
  });
}

/**
 * Whether a lease on the node that began at `t`, or so much earlier, may be lost with its node: it could not, or this version does not, write
 * it down.
 */
function isExcused(facts: Facts, node: string, t: number, earlierMs = 0): boolean {
  const { deaths, full } = facts;
  const death = deaths.get(node)?.find((at) => at >= t - earlierMs);
  if (death === undefined) return false;
  if (WITH_FAULTS.includes(versionOf(facts, node, death)) && death - t < DEATH_MS) return true;
  return (
    full.get(node)?.some(([from, to]) => from <= death && t - earlierMs <= to + DEATH_MS) ?? false
  );
}

function billOf(project: string, bills: readonly Billed[], facts: Facts): Violation[] {
  const [{ t }] = bills as [Billed];
  const found: Violation[] = [];
  const say = (rule: Rule, what: string): void =>
    void found.push({ rule, what: `lease ${project}: ${what}`, t });
  const taken = facts.taken.get(project);
  for (const { node, startedAtMs, endedAtMs, presumed, reason } of bills) {
    if (endedAtMs === null) say("a bill is final", `on ${node} it has no end`);
    if (presumed && !isExcused(facts, node, startedAtMs))
      say("a bill is final", `on ${node} it is presumed (${reason})`);
  }
  for (const { node } of taken?.parts ?? []) {
    const parts = taken!.parts.filter((part) => part.node === node).length;
    const billed = bills.filter((bill) => bill.node === node && bill.calls > 0).length;
    if (billed > parts)
      say("a lease is billed once on each node", `${billed} bills with calls on ${node}`);
  }
  const ran = facts.effectsOf.get(project) ?? 0;
  const answered = facts.resultsOf.get(project) ?? 0;
  const counted = bills.reduce((sum, { calls }) => sum + calls, 0);
  const died =
    bills.some(({ node, endedAtMs }) =>
      facts.deaths
        .get(node)
        ?.some((at) => endedAtMs === null || Math.abs(at - endedAtMs) < DEATH_MS),
    ) || mayLackBills(project, facts);
  const most = bills.some(({ node, startedAtMs }) =>
    WITH_FAULTS.includes(versionOf(facts, node, startedAtMs)),
  )
    ? Infinity
    : ran;
  // Calls that were cut have begun, and are not counted.
  if (counted > most || (counted < answered && !died))
    say(
      "a bill has the calls that ran",
      `${ran} ran, ${answered} had results, ${counted} are billed`,
    );
  found.push(...heldOf(project, bills, facts));
  return found;
}

/** Whether a node that died in its time could not write down what it had of it. Where a pool has its workers is not known. */
function mayLackBills(project: string, { taken, asked, over, deaths, full }: Facts): boolean {
  const [from, to] = [asked.get(project)?.t ?? 0, over.get(project)?.t ?? Infinity];
  const parts = taken.get(project)?.parts ?? [];
  const nodes = parts.length > 0 ? parts.map(({ node }) => node) : [...full.keys()];
  return nodes.some((node) =>
    deaths
      .get(node)
      ?.some(
        (at) => (at >= from && at <= to + DEATH_MS && full.get(node)?.some(wasAt(at))) ?? false,
      ),
  );
}

const wasAt =
  (at: number) =>
  ([from, to]: readonly [number, number]): boolean =>
    from <= at && at <= to + DEATH_MS;

/** Cores are held from between the request and the grant to between the last result and the end. */
function heldOf(project: string, bills: readonly Billed[], facts: Facts): Violation[] {
  return bills.flatMap((bill) => {
    if (bill.endedAtMs === null) return [];
    const { t, node } = bill;
    const found = [
      unlikeItsTime(bill, bill.endedAtMs, facts),
      beginsEarly(bill, facts.asked.get(project)),
      endsLate(bill, bill.endedAtMs, facts),
      bills.length === 1 ? endsEarly(bill, bill.endedAtMs, facts) : undefined,
    ];
    return found.flatMap((what) =>
      what === undefined
        ? []
        : [
            {
              ...({ rule: "a bill has the cores that were held", t } as const),
              what: `lease ${project} on ${node} ${what}`,
            },
          ],
    );
  });
}

function unlikeItsTime(bill: Billed, endedAtMs: number, facts: Facts): string | undefined {
  const { node, startedAtMs, reason, workers, coreNs } = bill;
  const heldMs = coreNs / 1e6;
  const spanMs = workers * (endedAtMs - startedAtMs);
  if (WITH_FAULTS.includes(versionOf(facts, node, startedAtMs)) && heldMs < spanMs)
    return undefined;
  if (reason === "node-lost" && WITH_FAULTS.includes(versionOf(facts, "manager", endedAtMs)))
    return undefined;
  if (Math.abs(heldMs - spanMs) <= workers * HELD_TOLERANCE_MS) return undefined;
  return `is billed ${heldMs.toFixed(0)} ms, and lasted ${spanMs} ms`;
}

function beginsEarly({ startedAtMs }: Billed, asked: { t: number } | undefined) {
  if (asked === undefined || startedAtMs >= asked.t - HELD_TOLERANCE_MS) return undefined;
  return `began ${asked.t - startedAtMs} ms before it was asked for`;
}

/** Over a network that is cut, a node hears of a release when it misses its client. */
function endsLate({ project, node }: Billed, endedAtMs: number, { taken, over }: Facts) {
  const parts = taken.get(project)?.parts ?? [];
  const released = over.get(project);
  if (released?.how !== "released" || endedAtMs <= released.t + HELD_TOLERANCE_MS) return undefined;
  if (!parts.some((part) => part.node === node && part.fabric === "shm")) return undefined;
  return `ended ${endedAtMs - released.t} ms after its release`;
}

/** The only bill of a lease; where a part on another node is on none, its calls may have been there. */
function endsEarly(bill: Billed, endedAtMs: number, { taken, lastEffect }: Facts) {
  const { project, node, reason, presumed } = bill;
  const last = lastEffect.get(project);
  // A presumed one has what the manager heard last, which may have stood still since.
  if (presumed || last === undefined) return undefined;
  if (taken.get(project)?.parts.some((part) => part.node !== node)) return undefined;
  const notedMs = reason === "node-lost" ? NOTED_MS : 0;
  if (last <= endedAtMs + notedMs + HELD_TOLERANCE_MS) return undefined;
  return `ended ${last - endedAtMs} ms before its last call began`;
}

function processesOf(history: History, { calmAt }: Facts): Violation[] {
  const found: Violation[] = [];
  const results = new Set<number>();
  const done = new Map<number, number>();
  for (const each of history) {
    const { t } = each;
    if (each.e === "stuck")
      found.push({
        rule: "everything ends when it is told to",
        what: `${each.who}: ${each.what}`,
        t,
      });
    if (each.e === "exit" && each.code === 1 && isExplainedEnd(each)) continue;
    if (each.e === "exit" && (!each.meant || (each.client !== undefined && each.code)))
      found.push({
        ...{ rule: "nothing ends by itself", t },
        what: `${each.who} ended with ${each.signal ?? each.code}: ${each.log ?? ""}`,
      });
    if (each.e === "left") found.push({ rule: "nothing is left", what: each.what, t });
    if (each.e === "end" && each.outcome === "result" && t > calmAt) results.add(each.client);
    if (each.e === "done") done.set(each.client, t);
  }
  for (const [client, t] of done)
    if (!results.has(client))
      found.push({
        ...{ rule: "clients get on when all is well", t, client },
        what: `client ${client} got no result when there were no faults any more`,
      });
  return found;
}
