/**
 * Who is in the cluster: nodes that are expected, there, draining or lost, and what they have free. Pure: it is told what happens
 * and at what time, and tells its listeners what changed.
 */
import type { NodeInfo } from "../../protocol/manager-messages.ts";
import {
  type Entry,
  type Session,
  absent,
  newEntry,
  presentState,
  withoutKept,
} from "./known/entry.ts";
import {
  type Announcement,
  type CapacityReport,
  type ExpectedNode,
  type NodeWish,
  nodeProblem,
  normalAddress,
} from "./known/node.ts";

/** The manager takes a node for dead that is silent for this long. */
export const NODE_SILENCE_MS = 2_000;
/** How long a lost node is remembered, unless it is expected. */
export const FORGET_AFTER_MS = 60_000;
/** For how long a node is taken for there that another manager has seen last: it looks for this one meanwhile. */
const PRESUMED_MS = 10_000;
/** Names that are remembered at most. */
export const MAX_NODES = 16_384;
/** Between two ticks; when more has passed, the manager itself did not run, and no node is to blame. */
const MAX_TICK_MS = 250;

export type AnnounceAnswer =
  | { kind: "accepted"; session: Session; replaced: Session | undefined }
  | { kind: "refused"; code: string; message: string };

export class Registry {
  readonly #entries = new Map<string, Entry>();
  readonly #bySession = new Map<Session, Entry>();
  readonly #listeners = new Set<(name: string) => void>();
  /** Where the nodes were found that were taken out. */
  readonly #removed = new Map<string, string>();
  #onWish: () => void = () => {};
  #nextSession = 1;
  #lastTickMs: number | undefined;

  /** Calls `listener` with the name of each node that changed or went. Returns what ends that. */
  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls `listener` whenever {@link wishes} may have changed. */
  onWish(listener: () => void): void {
    this.#onWish = listener;
  }

  /** Forgets all, as at a start: another manager has been told meanwhile. */
  beginAnew(): void {
    this.#bySession.clear();
    this.#removed.clear();
    for (const name of [...this.#entries.keys()]) this.#forget(name);
  }

  /** Takes these for there, as another manager has seen them, until they come or a while has passed. */
  presume(nodes: readonly NodeInfo[], nowMs: number): void {
    for (const info of nodes) {
      if (this.#removed.has(info.name) || this.#fullFor(info.name)) continue;
      const entry = this.#entries.get(info.name) ?? newEntry(undefined);
      entry.presumedUntilMs = nowMs + PRESUMED_MS;
      this.#entries.set(info.name, entry);
      this.#update(entry, { ...info, state: presentState(entry) });
    }
  }

  /** The operators' wishes, which must survive a restart of the manager. */
  wishes(nowMs: number): NodeWish[] {
    const out = [...this.#removed].map(([name, removedAt]) => ({ ...NO_WISH, name, removedAt }));
    const wishes: NodeWish[] = [...this.#entries]
      .filter(([, entry]) => entry.expected ?? entry.drainUntilMs ?? entry.resumed)
      .map(([name, { expected, resumed }]) => ({
        name,
        expected,
        drainLeftMs: this.drainLeftMs(name, nowMs),
        resumed,
      }));
    return [...wishes, ...out];
  }

  /** Restores a wish from before a restart of the manager. Leaves out a name that it cannot take. */
  restore({ name, expected, drainLeftMs, resumed, removedAt }: NodeWish, nowMs: number): void {
    if (removedAt !== undefined) return void this.#removed.set(name, removedAt);
    const sized = { name, address: "", cores: 1, memoryBytes: 0 };
    if (nodeProblem(sized) ?? this.#fullFor(name) ?? this.#entries.has(name)) return;
    const entry = newEntry(expected);
    // A node that registered by itself counts as just lost.
    if (!expected) entry.info = { ...entry.info, name, state: "down" };
    entry.downSinceMs = nowMs;
    entry.resumed = resumed;
    if (drainLeftMs !== undefined) entry.drainUntilMs = nowMs + drainLeftMs;
    this.#entries.set(name, entry);
    this.#changed(name);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): NodeInfo | undefined {
    return this.#entries.get(name)?.info;
  }

  /** The names of the nodes that are called so, or are found at this address: one, unless nodes of two machines have one address. */
  find(text: string): string[] {
    if (this.#entries.has(text)) return [text];
    const address = normalAddress(text);
    const there = this.nodes().filter((node) => normalAddress(node.address) === address);
    return address === undefined ? [] : there.map(({ name }) => name);
  }

  /** All nodes, in the order in which they were first heard of. */
  nodes(): NodeInfo[] {
    return [...this.#entries.values()].map(({ info }) => info);
  }

  isExpected(name: string): boolean {
    return this.#entries.get(name)?.expected !== undefined;
  }

  /** The connection of a node that is there. */
  sessionOf(name: string): Session | undefined {
    return this.#entries.get(name)?.session;
  }

  /** Names a node, before or after it connects: it is shown, and remembered when it goes. Returns why that cannot be. */
  expect(node: ExpectedNode): string | undefined {
    this.#removed.delete(node.name);
    return this.expectAll([node])?.problem;
  }

  /** Names nodes: all of them but those that were taken out, or none. Returns which cannot be, and why. */
  expectAll(nodes: readonly ExpectedNode[]): { name: string; problem: string } | undefined {
    const added = new Set<string>();
    const named = nodes
      .map((node) => ({ ...node, name: this.#calledAt(node) ?? node.name }))
      .filter(({ name }) => !this.#removed.has(name));
    for (const { name, cores, ...rest } of named) {
      const sized = { name, ...rest, cores: cores === 0 ? 1 : cores };
      const problem = nodeProblem(sized) ?? this.#fullFor(name, added.size);
      if (problem) return { name, problem };
      if (!this.#entries.has(name)) added.add(name);
    }
    for (const node of named) {
      const entry = this.#entries.get(node.name) ?? newEntry({ ...node });
      const isNew = added.delete(node.name);
      entry.expected = { ...node };
      this.#entries.set(node.name, entry);
      if (isNew) this.#changed(node.name);
      else if (entry.session === undefined) this.#update(entry, absent(entry, entry.info.state));
    }
    this.#onWish();
    return undefined;
  }

  /** A node greets over a new connection. */
  announce(node: Announcement, nowMs: number): AnnounceAnswer {
    const problem = nodeProblem(node) ?? this.#fullFor(node.name);
    if (problem) return { kind: "refused", code: "RFAAS_USAGE", message: problem };
    if (this.#removed.has(node.name))
      return { kind: "refused", code: "RFAAS_NODE_REMOVED", message: whyOut(node.name) };
    this.#takeUp(node);
    const known = this.#entries.get(node.name);
    if (known?.session !== undefined && known.info.instance !== node.instance)
      return {
        kind: "refused",
        code: "RFAAS_NAME_TAKEN",
        message: `another node is already called ${node.name}; choose another --name`,
      };
    const entry = known ?? newEntry(undefined);
    const replaced = entry.session;
    if (replaced !== undefined) this.#bySession.delete(replaced);
    const session = this.#nextSession++;
    entry.session = session;
    entry.presumedUntilMs = undefined;
    entry.heardAtMs = nowMs;
    entry.drains = false;
    this.#entries.set(node.name, entry);
    this.#bySession.set(session, entry);
    const { name, instance, address, cores, memoryBytes, fabrics, machine, version } = node;
    const described = { name, instance, address, cores, memoryBytes, machine, version };
    this.#update(entry, {
      ...described,
      fabrics: [...fabrics],
      // Nothing, until it says what.
      freeCores: 0,
      freeMemoryBytes: 0,
      leases: 0,
      state: presentState(entry),
    });
    return { kind: "accepted", session, replaced };
  }

  /** The node of a connection has sent a message. */
  heard(session: Session, nowMs: number): void {
    const entry = this.#bySession.get(session);
    if (entry) entry.heardAtMs = nowMs;
  }

  /** A node says what it has free. More than it has is not believed. */
  report(session: Session, capacity: CapacityReport, nowMs: number): void {
    const entry = this.#bySession.get(session);
    if (!entry) return;
    entry.heardAtMs = nowMs;
    entry.drains = capacity.draining;
    const { info } = entry;
    const { keptHosts, waiting, waitingSinceMs } = capacity;
    this.#update(entry, {
      ...withoutKept(info),
      ...(keptHosts === undefined ? {} : { keptHosts }),
      ...(waiting === undefined ? {} : { waiting }),
      ...(waitingSinceMs === undefined ? {} : { waitingSinceMs }),
      freeCores: Math.min(capacity.freeCores, info.cores),
      freeMemoryBytes: Math.min(capacity.freeMemoryBytes, info.memoryBytes),
      leases: capacity.leases,
      state: presentState(entry),
    });
  }

  /** Whether the manager has reached the node of a connection at its address. */
  looked(session: Session, reachable: string): void {
    const entry = this.#bySession.get(session);
    if (entry) this.#update(entry, { ...entry.info, reachable });
  }

  /** A node announces that it leaves: the registry forgets it at once, or expects it again. */
  leave(session: Session): void {
    const entry = this.#detach(session);
    if (!entry) return;
    if (!entry.expected) return this.#forget(entry.info.name);
    this.#update(entry, { ...absent(entry, "expected"), instance: "" });
  }

  /** A node's connection is lost. The loss of one that was replaced means nothing. */
  lost(session: Session, nowMs: number): void {
    const entry = this.#detach(session);
    if (!entry) return;
    entry.downSinceMs = nowMs;
    this.#update(entry, absent(entry, "down"));
  }

  /** The manager wants a node empty. False when there is no such node. */
  drain(name: string, deadlineMs: number, nowMs: number): boolean {
    const entry = this.#entries.get(name);
    if (!entry) return false;
    entry.drainUntilMs = nowMs + deadlineMs;
    entry.resumed = false;
    if (entry.session !== undefined)
      this.#update(entry, { ...entry.info, state: presentState(entry) });
    this.#onWish();
    return true;
  }

  /** Whether the last wish for a node was that it serves again. The node may not have received it. */
  isResumed(name: string): boolean {
    return this.#entries.get(name)?.resumed ?? false;
  }

  /** Time left until a draining node must be empty; undefined when it need not be. */
  drainLeftMs(name: string, nowMs: number): number | undefined {
    const until = this.#entries.get(name)?.drainUntilMs;
    return until === undefined ? undefined : Math.max(0, until - nowMs);
  }

  /** The manager lets a node serve again; the node is up once it has confirmed. False when there is no such node. */
  resume(name: string): boolean {
    const entry = this.#entries.get(name);
    if (!entry) return false;
    entry.drainUntilMs = undefined;
    entry.resumed = true;
    if (entry.session !== undefined)
      this.#update(entry, { ...entry.info, state: presentState(entry) });
    this.#onWish();
    return true;
  }

  /** Takes a node out of the cluster, expected or not. False when there is no such node. */
  remove(name: string): boolean {
    const entry = this.#entries.get(name);
    if (!entry) return false;
    if (entry.session !== undefined) this.#detach(entry.session);
    if (this.#removed.size >= MAX_NODES) this.#removed.delete(this.#removed.keys().next().value!);
    this.#removed.set(name, entry.info.address);
    this.#forget(name);
    this.#onWish();
    return true;
  }

  /** Lets a node come again that was taken out, by its name or where it was found. Returns its name; undefined when none was. */
  readmit(text: string): string | undefined {
    const at = [...this.#removed].find(([, address]) => address === normalAddress(text));
    const name = this.#removed.has(text) ? text : at?.[0];
    if (name === undefined) return undefined;
    this.#removed.delete(name);
    this.#onWish();
    return name;
  }

  /**
   * Time passes: nodes that are silent go down, those that are down for long are forgotten. To be called a few times a second.
   * Returns the connections that are abandoned.
   */
  tick(nowMs: number): Session[] {
    const missedMs = Math.max(0, nowMs - (this.#lastTickMs ?? nowMs) - MAX_TICK_MS);
    this.#lastTickMs = nowMs;
    const silent: Session[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.presumedUntilMs !== undefined && nowMs >= entry.presumedUntilMs) {
        entry.presumedUntilMs = undefined;
        entry.downSinceMs = nowMs;
        this.#update(entry, absent(entry, "down"));
      }
      if (entry.session !== undefined) {
        // Never into the future: a message since the last tick does not get older by it.
        entry.heardAtMs = Math.min(nowMs, entry.heardAtMs + missedMs);
        if (nowMs - entry.heardAtMs > NODE_SILENCE_MS) silent.push(entry.session);
      } else if (
        entry.info.state === "down" &&
        !entry.expected &&
        nowMs - entry.downSinceMs > FORGET_AFTER_MS
      )
        this.#forget(entry.info.name);
    }
    for (const session of silent) this.lost(session, nowMs);
    return silent;
  }

  /** How the node calls itself that a list knows by its address alone; undefined where that is not known. */
  #calledAt({ name, address }: ExpectedNode): string | undefined {
    return name === address ? this.find(address)[0] : undefined;
  }

  /** What a list says of an address is for the node that announces itself there, by whatever name. */
  #takeUp({ name, address }: Announcement): void {
    const listed = this.#entries.get(normalAddress(address) ?? "");
    if (!listed?.expected || listed.session !== undefined || this.#entries.has(name)) return;
    this.#forget(listed.expected.name);
    listed.expected = { ...listed.expected, name };
    this.#entries.set(name, listed);
    this.#onWish();
  }

  #fullFor(name: string, added = 0): string | undefined {
    if (this.#entries.has(name) || this.#entries.size + added < MAX_NODES) return undefined;
    return `the manager knows ${MAX_NODES} nodes and takes no more; remove some, or start another manager`;
  }

  #detach(session: Session): Entry | undefined {
    const entry = this.#bySession.get(session);
    if (!entry) return undefined;
    this.#bySession.delete(session);
    entry.session = undefined;
    entry.drains = false;
    return entry;
  }

  #forget(name: string): void {
    this.#entries.delete(name);
    this.#changed(name);
  }

  #update(entry: Entry, info: NodeInfo): void {
    if (Bun.deepEquals(entry.info, info)) return;
    entry.info = info;
    this.#changed(info.name);
  }

  #changed(name: string): void {
    for (const listener of this.#listeners) listener(name);
  }
}

const NO_WISH = { expected: undefined, drainLeftMs: undefined, resumed: false };

const whyOut = (name: string): string =>
  `the node ${name} was taken out of the cluster; let it come again with: rfaas node readmit ${name}`;
