/**
 * Who is in the cluster: nodes that are expected, there, draining or lost, and what they have free. Pure: it is told what happens
 * and at what time, and tells its listeners what changed.
 */
import {
  type Capacity,
  MAX_NODE_CORES,
  MAX_NODE_MEMORY_BYTES,
  MAX_NODE_NAME_CHARACTERS,
  NODE_NAME_PATTERN,
  type NodeInfo,
} from "../../protocol/manager-messages.ts";

/** The manager takes a node for dead that is silent for this long. */
export const NODE_SILENCE_MS = 2_000;
/** How long a lost node is remembered, unless it is expected. */
export const FORGET_AFTER_MS = 60_000;
/** Names that are remembered at most. */
export const MAX_NODES = 16_384;
/** Between two ticks; when more has passed, the manager itself did not run, and no node is to blame. */
const MAX_TICK_MS = 250;

/** A node that is named to the manager before it connects. */
export interface ExpectedNode {
  name: string;
  /** Where its agent will listen; empty when that is not known. */
  address: string;
  /** 0 when they are not known, as for its memory; the node tells when it comes. */
  cores: number;
  memoryBytes: number;
}

/** What a node says of itself when it connects. */
export interface Announcement extends ExpectedNode {
  instance: string;
  fabrics: readonly string[];
  machine: string;
  version: string;
}

/** What a node says from time to time. */
export type CapacityReport = Omit<Capacity, "t">;

/** The operator's wishes for a node, in contrast to the node's own reports. */
export interface NodeWish {
  name: string;
  /** Undefined for a node that registered by itself. */
  expected: ExpectedNode | undefined;
  /** Time left until it must be empty; undefined when it may serve. */
  drainLeftMs: number | undefined;
  /** It was told to serve again, and may not have heard it. */
  resumed: boolean;
}

/** One connection of a node, known by a number that is never used again. */
export type Session = number;

export type AnnounceAnswer =
  | { kind: "accepted"; session: Session; replaced: Session | undefined }
  | { kind: "refused"; code: string; message: string };

interface Entry {
  info: NodeInfo;
  expected: ExpectedNode | undefined;
  session: Session | undefined;
  heardAtMs: number;
  downSinceMs: number;
  /** The deadline of the manager's drain. */
  drainUntilMs: number | undefined;
  /** It was told to serve again, or would have been if it had been there. */
  resumed: boolean;
  /** The node itself says that it drains. */
  drains: boolean;
}

/** Why a node that is there cannot be called or sized like this; undefined when it can. */
export function nodeProblem({ name, cores, memoryBytes }: ExpectedNode): string | undefined {
  if (name.length > MAX_NODE_NAME_CHARACTERS || !new RegExp(NODE_NAME_PATTERN).test(name))
    return `a node's name is 1 to ${MAX_NODE_NAME_CHARACTERS} letters, digits or . _ : - and not ${JSON.stringify(name.slice(0, 40))}; choose another --name`;
  if (!Number.isInteger(cores) || cores < 1 || cores > MAX_NODE_CORES)
    return `a node has 1 to ${MAX_NODE_CORES} cores and not ${cores}; choose another --cores`;
  if (!(memoryBytes >= 0 && memoryBytes <= MAX_NODE_MEMORY_BYTES))
    return `a node has up to ${MAX_NODE_MEMORY_BYTES} bytes of memory and not ${memoryBytes}; choose another --memory`;
  return undefined;
}

export class Registry {
  readonly #entries = new Map<string, Entry>();
  readonly #bySession = new Map<Session, Entry>();
  readonly #listeners = new Set<(name: string) => void>();
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

  /** The operators' wishes, which must survive a restart of the manager. */
  wishes(nowMs: number): NodeWish[] {
    return [...this.#entries]
      .filter(([, entry]) => entry.expected ?? entry.drainUntilMs ?? entry.resumed)
      .map(([name, { expected, resumed }]) => ({
        name,
        expected,
        drainLeftMs: this.drainLeftMs(name, nowMs),
        resumed,
      }));
  }

  /** Restores a wish from before a restart of the manager. Leaves out a name that it cannot take. */
  restore({ name, expected, drainLeftMs, resumed }: NodeWish, nowMs: number): void {
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
    return this.expectAll([node])?.problem;
  }

  /** Names nodes: all of them, or none. Returns which cannot be, and why. */
  expectAll(nodes: readonly ExpectedNode[]): { name: string; problem: string } | undefined {
    const added = new Set<string>();
    for (const { name, cores, ...rest } of nodes) {
      const sized = { name, ...rest, cores: cores === 0 ? 1 : cores };
      const problem = nodeProblem(sized) ?? this.#fullFor(name, added.size);
      if (problem) return { name, problem };
      if (!this.#entries.has(name)) added.add(name);
    }
    for (const node of nodes) {
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
    this.#update(entry, {
      ...withoutKept(info),
      ...(capacity.keptHosts === undefined ? {} : { keptHosts: capacity.keptHosts }),
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
    this.#forget(name);
    this.#onWish();
    return true;
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

function newEntry(expected: ExpectedNode | undefined): Entry {
  const entry: Entry = {
    info: {
      name: "",
      instance: "",
      address: "",
      cores: 0,
      memoryBytes: 0,
      freeCores: 0,
      freeMemoryBytes: 0,
      leases: 0,
      fabrics: [],
      machine: "",
      version: "",
      state: "expected",
    },
    expected,
    session: undefined,
    heardAtMs: 0,
    downSinceMs: 0,
    drainUntilMs: undefined,
    resumed: false,
    drains: false,
  };
  if (expected) entry.info = absent(entry, "expected");
  return entry;
}

/** A node that is not connected has nothing free; the rest of its entry is what the operator said of it in advance. */
function absent({ info, expected }: Entry, state: NodeInfo["state"]): NodeInfo {
  const { reachable: _, ...last } = withoutKept(info);
  const known = { ...last, ...expected };
  return { ...known, freeCores: 0, freeMemoryBytes: 0, leases: 0, state };
}

/** What it keeps is what it has said last, and nothing when it is not there. */
function withoutKept({ keptHosts: _, ...info }: NodeInfo): NodeInfo {
  return info;
}

function presentState({ drains, drainUntilMs }: Entry): NodeInfo["state"] {
  return drains || drainUntilMs !== undefined ? "draining" : "up";
}
