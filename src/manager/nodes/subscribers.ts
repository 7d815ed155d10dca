/** The clients that have subscribed to the list of nodes: each gets the whole list, then changes, many at once. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import {
  type ManagerToClient,
  type NodeInfo,
  type NodesChanged,
  inParts,
} from "../../protocol/manager-messages.ts";
import type { Registry } from "./registry.ts";

/** How long changes wait for others. */
const GATHER_MS = 10;

/** A client's connection, as far as this goes. */
export interface Subscriber {
  send(message: ManagerToClient): void;
}

export class Subscribers {
  readonly #registry: Registry;
  readonly #all = new Set<Subscriber>();
  readonly #changed = new Set<string>();
  readonly #unlisten: () => void;
  #timer: Timer | undefined;

  constructor(registry: Registry, clock: Clock = SYSTEM_CLOCK) {
    this.#registry = registry;
    this.#unlisten = registry.onChange((name) => {
      if (this.#all.size === 0) return;
      this.#changed.add(name);
      this.#timer ??= clock.after(GATHER_MS, () => this.#push());
    });
  }

  get count(): number {
    return this.#all.size;
  }

  /** Sends the list as it is now, and every change from now on. */
  add(subscriber: Subscriber): void {
    this.#all.add(subscriber);
    const parts = inParts(this.#registry.nodes());
    for (const [i, nodes] of parts.entries())
      subscriber.send({ t: "nodes", nodes, last: i === parts.length - 1 });
  }

  delete(subscriber: Subscriber): void {
    this.#all.delete(subscriber);
  }

  broadcast(message: ManagerToClient): void {
    for (const subscriber of this.#all) subscriber.send(message);
  }

  close(): void {
    this.#unlisten();
    this.#timer?.clear();
    this.#all.clear();
  }

  #push(): void {
    this.#timer = undefined;
    const names = [...this.#changed];
    this.#changed.clear();
    for (const part of inParts(names)) this.broadcast(this.#changesOf(part));
  }

  #changesOf(names: readonly string[]): NodesChanged {
    const nodes: NodeInfo[] = [];
    const gone: string[] = [];
    for (const name of names) {
      const info = this.#registry.get(name);
      if (info) nodes.push(info);
      else gone.push(name);
    }
    return { t: "nodes-changed", nodes, gone };
  }
}
