/**
 * Connections that have not greeted: bounded in number, in all and for each address, so that a peer that opens many cannot keep others
 * out. A real peer greets at once, so the oldest connection is dropped first.
 */
import { readFileSync } from "node:fs";

export interface UngreetedLimits {
  /** From one address. */
  perPeer: number;
  total: number;
}

export class Ungreeted<Connection> {
  readonly #limits: UngreetedLimits;
  /** The oldest first, with where each came from. */
  readonly #peers = new Map<Connection, string>();
  readonly #byPeer = new Map<string, Set<Connection>>();

  constructor(limits: UngreetedLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#peers.size;
  }

  /** Adds one. Returns the one that must be dropped for it, if any, which no longer counts. */
  add(connection: Connection, peer: string): Connection | undefined {
    const own = this.#byPeer.get(peer) ?? new Set();
    const goes =
      own.size >= this.#limits.perPeer
        ? first(own)
        : this.#peers.size >= this.#limits.total
          ? first(this.#peers.keys())
          : undefined;
    if (goes !== undefined) this.delete(goes);
    this.#peers.set(connection, peer);
    // Not the set from above, which may have been removed with its last connection.
    const all = this.#byPeer.get(peer) ?? new Set();
    this.#byPeer.set(peer, all.add(connection));
    return goes;
  }

  /** It has greeted, or is gone. */
  delete(connection: Connection): void {
    const peer = this.#peers.get(connection);
    if (peer === undefined) return;
    this.#peers.delete(connection);
    const own = this.#byPeer.get(peer)!;
    own.delete(connection);
    if (own.size === 0) this.#byPeer.delete(peer);
  }

  /** The oldest first. */
  [Symbol.iterator](): Iterator<Connection> {
    return this.#peers.keys();
  }
}

function first<T>(all: Iterable<T>): T | undefined {
  for (const one of all) return one;
  return undefined;
}

/** How many descriptors this process may have open; Infinity where it is not said. */
export function descriptorLimit(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}
