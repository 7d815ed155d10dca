/** A client's connection to one node, as a cluster uses it: what the real one does with memory and packages left away. */
import { LeaseLost, LeaseRefused, NodeUnreachable } from "../../src/base/errors.ts";
import { untilAborted } from "../../src/base/waiting.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { ConnectedNode, WantedRoom } from "../../src/client/cluster/node.ts";
import type { NodeStatus } from "../../src/client/node/status.ts";
import type { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import type { Limits } from "../../src/lease/quota.ts";
import type { Actor } from "./actor.ts";
import { HeldLease, type Treatment } from "./held-lease.ts";
import type { Message, ToHolder } from "./messages.ts";
import type { Socket } from "./network.ts";
import type { ExecutorNode } from "./node.ts";
import type { World } from "./world.ts";

/** The client at one end. */
export interface LinkOwner {
  readonly actor: Actor;
  readonly clock: Clock;
  /** A lease was granted: how it is to be treated. */
  treat(): { redeems: boolean; renews: boolean; hearsOffers: boolean };
  /** It is held from now on, or not any more. */
  held(lease: HeldLease, node: ExecutorNode): void;
  over(lease: HeldLease): void;
  /** On whose behalf it asks, and the user's share against others. */
  readonly user: string;
  readonly weight: number;
  /** What its token says that the user may hold. */
  readonly claims: Limits;
}

const NO_LINE = { waiting: 0, longestWaitMs: 0 };

interface Asked {
  answer: PromiseWithResolvers<HeldLease>;
  workers: number;
  ttlMs: number;
}

export class NodeLink implements Omit<ConnectedNode, "take" | "packages"> {
  readonly cores: number;
  readonly hasLine: boolean;
  readonly #owner: LinkOwner;
  readonly #node: ExecutorNode;
  readonly #socket: Socket;
  readonly #asked = new Map<number, Asked>();
  readonly #places = new Map<number, PromiseWithResolvers<void> & { wanted: WantedRoom }>();
  /** What is to be done when the node wants an offer back. */
  readonly #recalls = new Map<number, () => void>();
  readonly #looks = new Map<number, PromiseWithResolvers<NodeStatus>>();
  readonly #leases = new Map<number, HeldLease>();
  readonly #opened = Promise.withResolvers<void>();
  #lost = false;
  #nextId = 1;

  constructor({ network }: World, owner: LinkOwner, node: ExecutorNode) {
    this.cores = node.cores;
    this.hasLine = node.hasLine;
    this.#owner = owner;
    this.#node = node;
    this.#socket = network.connect(owner.actor, node, {
      opened: () => this.#opened.resolve(),
      received: (message) => this.#heard(message as ToHolder),
      lost: () => this.#end(),
    });
  }

  /** Resolves to itself when it is open. */
  async open(signal: AbortSignal): Promise<NodeLink> {
    try {
      await untilAborted(this.#opened.promise, signal);
      return this;
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  status(): Promise<NodeStatus> {
    if (this.#lost) return Promise.reject(this.#unreachable());
    const id = this.#nextId++;
    const answer = Promise.withResolvers<NodeStatus>();
    this.#looks.set(id, answer);
    this.#socket.send({ t: "ask-status", id });
    return answer.promise;
  }

  async waitInLine(wanted: WantedRoom, signal: AbortSignal): Promise<void> {
    if (this.#lost) throw this.#unreachable();
    const { recalled: _, offered: __, heapBytes: ___, ...asked } = wanted;
    const { user, weight, claims } = this.#owner;
    const id = this.#nextId++;
    const answer = Promise.withResolvers<void>();
    this.#places.set(id, { ...answer, wanted });
    this.#socket.send({ t: "wait-in-line", id, ...asked, user, weight, claims });
    try {
      await untilAborted(answer.promise, signal);
    } catch (error) {
      if (this.#places.delete(id)) this.#pass(id);
      throw error;
    }
  }

  async take(_module: string | URL, options: AllocateOptions, offer?: number): Promise<HeldLease> {
    if (this.#lost) throw this.#unreachable();
    const { workers = 1, coresPerWorker = 1, memory, ttlMs = 0, signal } = options;
    const id = this.#nextId++;
    const answer = Promise.withResolvers<HeldLease>();
    this.#asked.set(id, { answer, workers, ttlMs });
    const memoryBytes = Number(memory);
    const { user, weight, claims } = this.#owner;
    const room = { workers, coresPerWorker, memoryBytes, ttlMs };
    const asked = { ...room, user, weight, claims, offer };
    if (offer !== undefined) this.#recalls.delete(offer);
    this.#socket.send({ t: "allocate", id, ...asked });
    try {
      return await untilAborted(answer.promise, signal, (late) => late.release());
    } catch (error) {
      if (this.#asked.delete(id)) this.#socket.send({ t: "withdraw", id });
      throw error;
    }
  }

  close(): Promise<void> {
    this.#socket.close();
    this.#end();
    return Promise.resolve();
  }

  #heard(said: ToHolder): void {
    switch (said.t) {
      case "granted":
        return this.#granted(said);
      case "denied": {
        const { id, code, message, limit } = said;
        const error =
          code === "RFAAS_NODE_LOST"
            ? new LeaseLost(message)
            : new LeaseRefused(code, message, { limit });
        this.#asked.get(id)?.answer.reject(error);
        this.#asked.delete(id);
        this.#places.get(id)?.reject(error);
        this.#places.delete(id);
        return;
      }
      case "offered": {
        const { id, workers, last } = said;
        const place = this.#places.get(id);
        if (!place || !this.#owner.treat().hearsOffers) return;
        this.#recalls.set(id, place.wanted.recalled);
        place.wanted.offered({ number: id, workers, pass: () => this.#pass(id) });
        if (!last) return;
        this.#places.delete(id);
        return place.resolve();
      }
      case "recall":
        return this.#recalls.get(said.id)?.();
      case "status":
        this.#looks.get(said.id)?.resolve({ ...said, prewarmedHosts: 0, keptHosts: 0, ...NO_LINE });
        this.#looks.delete(said.id);
        return;
      case "renewed":
        return this.#leases.get(said.lease)?.term.renewed(said.expiresInMs);
      case "revoking":
        return this.#leases.get(said.lease)?.term.revoking(said.deadlineInMs, "it is wanted back");
      case "lost":
        return this.#leases.get(said.lease)?.lose(said.message);
      case "released":
        this.#leases.get(said.lease)?.released();
        this.#leases.delete(said.lease);
    }
  }

  #granted({ id, lease, host, expiresInMs }: ToHolder & { t: "granted" }): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (!asked) return this.#send({ t: "release", lease });
    const { redeems, renews } = this.#owner.treat();
    if (redeems) this.#send({ t: "redeem", lease });
    const { workers, ttlMs, answer } = asked;
    const treatment: Treatment = {
      renews,
      send: (message) => this.#send(message),
      over: (over) => this.#owner.over(over),
    };
    const node = this.#node.name;
    const held = new HeldLease(
      { node, lease, workers, ttlMs, expiresInMs, host },
      treatment,
      this.#owner.clock,
    );
    this.#leases.set(lease, held);
    this.#owner.held(held, this.#node);
    answer.resolve(held);
  }

  #pass(place: number): void {
    this.#recalls.delete(place);
    this.#socket.send({ t: "withdraw", id: place });
  }

  #send(message: Message): void {
    this.#socket.send(message);
  }

  /** The node is out of reach: nothing that it was asked for comes any more, and its leases are lost. */
  #end(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#opened.reject(this.#unreachable());
    this.#opened.promise.catch(() => {});
    for (const { answer } of this.#asked.values()) answer.reject(this.#unreachable());
    for (const place of this.#places.values()) place.reject(this.#unreachable());
    for (const look of this.#looks.values()) look.reject(this.#unreachable());
    this.#asked.clear();
    this.#looks.clear();
    this.#places.clear();
    this.#recalls.clear();
    for (const lease of this.#leases.values()) lease.lose("the connection to the node was lost");
    this.#leases.clear();
  }

  #unreachable(): NodeUnreachable {
    const { name } = this.#node;
    return new NodeUnreachable(name, `the connection to ${name} was lost`);
  }
}
