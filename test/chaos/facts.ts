/** A history by what it is about: calls, leases, bills, nodes. */
import {
  FROZEN_MS,
  type Billed,
  type CallEnded,
  type CallMade,
  type Fault,
  type Happened,
  type History,
  type LeaseAsked,
  type LeaseOver,
  type LeaseTaken,
  type Started,
} from "./history.ts";

export interface Facts {
  calls: Map<string, CallMade>;
  ends: Map<string, CallEnded[]>;
  effects: Map<string, number>;
  effectsOf: Map<string, number>;
  /** By lease: how many calls had a result, and when the last effect. */
  resultsOf: Map<string, number>;
  lastEffect: Map<string, number>;
  asked: Map<string, LeaseAsked>;
  taken: Map<string, LeaseTaken>;
  over: Map<string, LeaseOver>;
  /** Of one manager. */
  bills: Map<string, Billed[]>;
  /** By manager, where there are several, and what etcd has: what is on the bill of each lease, in words. */
  copies: Map<string, Map<string, string>>;
  killed: Set<number>;
  /** When nodes were killed. */
  deaths: Map<string, number[]>;
  /** When their disks were full, or did not answer. */
  full: Map<string, [from: number, to: number][]>;
  starts: Map<string, Started[]>;
  calmAt: number;
}

export const keyOf = ({ client, call }: { client: number; call: number }): string =>
  `${client}.${call}`;

function add<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

export function factsOf(history: History): Facts {
  const facts: Facts = {
    ...{ calls: new Map(), ends: new Map(), effects: new Map(), effectsOf: new Map() },
    ...{ resultsOf: new Map(), lastEffect: new Map() },
    ...{ asked: new Map(), taken: new Map(), over: new Map(), bills: new Map(), copies: new Map() },
    ...{ killed: new Set(), deaths: new Map(), full: new Map(), starts: new Map() },
    calmAt: Infinity,
  };
  for (const each of history) note(facts, each);
  for (const [key, count] of facts.effects) {
    const project = facts.calls.get(key)?.project;
    if (project !== undefined)
      facts.effectsOf.set(project, (facts.effectsOf.get(project) ?? 0) + count);
  }
  for (const [key, ends] of facts.ends) {
    const project = facts.calls.get(key)?.project;
    if (project === undefined) continue;
    const results = ends.filter(({ outcome }) => outcome === "result");
    if (results.length === 0 || !facts.effects.has(key)) continue;
    facts.resultsOf.set(project, (facts.resultsOf.get(project) ?? 0) + 1);
  }
  return facts;
}

function note(facts: Facts, each: Happened): void {
  switch (each.e) {
    case "call":
      return void facts.calls.set(keyOf(each), each);
    case "end":
      return add(facts.ends, keyOf(each), each);
    case "effect": {
      const project = facts.calls.get(keyOf(each))?.project ?? "";
      facts.lastEffect.set(project, Math.max(facts.lastEffect.get(project) ?? 0, each.t));
      return void facts.effects.set(keyOf(each), (facts.effects.get(keyOf(each)) ?? 0) + 1);
    }
    case "ask":
      return void facts.asked.set(each.project, each);
    case "lease":
      return void facts.taken.set(each.project, { ...each, parts: [...each.parts] });
    case "replaced":
      return void facts.taken.get(each.project)?.parts.push({ ...each.part, t: each.t });
    case "lease-over":
      return void facts.over.set(each.project, each);
    case "bill":
      return noteBill(facts, each);
    case "exit":
      if (each.client !== undefined && (each.signal !== null || each.code !== 0))
        facts.killed.add(each.client);
      if (each.signal === "SIGKILL") add(facts.deaths, each.who, each.t);
      return;
    case "start":
      return add(facts.starts, each.who, each);
    case "fault":
      return noteFull(facts, each);
    case "calm":
      facts.calmAt = each.t;
  }
}

function noteBill({ bills, copies }: Facts, bill: Billed): void {
  const { ledger = "", lease, user, endedAtMs, presumed, coreNs, calls } = bill;
  if (copies.size === 0) copies.set(ledger, new Map());
  const copy = copies.get(ledger) ?? new Map<string, string>();
  copies.set(ledger, copy);
  copy.set(lease, JSON.stringify({ user, endedAtMs, presumed, coreNs, calls }));
  // The others have the same.
  if (copies.keys().next().value === ledger) add(bills, bill.project, bill);
}

function noteFull({ full }: Facts, { t, fault, target }: Fault): void {
  const node = target.replace("disk of ", "");
  if (fault === "full disk") add(full, node, [t, Infinity]);
  if (fault === "frozen disk") add(full, node, [t, t + FROZEN_MS]);
  if (fault === "disk has room") full.get(node)!.at(-1)![1] = t;
}

/** Of a node at that time; empty where it is not known. */
export const versionOf = ({ starts }: Facts, node: string, t: number): string =>
  starts.get(node)?.findLast((start) => start.t <= t)?.version ?? "";
