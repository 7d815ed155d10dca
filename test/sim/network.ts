/**
 * The network: connections that deliver in order, as TCP does, and with any delay between each other. They break, with what is
 * under way lost from some point on; partitions hold everything back, and what is silent for long is given up by each end on its
 * own, so that one end may take a connection for good that the other has long replaced.
 */
import type { Actor } from "./actor.ts";
import type { Message } from "./messages.ts";
import type { Random } from "./random.ts";
import type { Trace } from "./trace.ts";
import { MS, S, US } from "./world.ts";

const CONNECT_LIMIT_NS = 1 * S;
/** How long an end hears nothing before it gives the connection up. */
const SILENCE_NS: readonly [low: number, high: number] = [2 * S, 3 * S];

type Arrival = "open" | "end" | Message;

/** One end of a connection. */
export class Socket {
  readonly owner: Actor;
  /** The other end. */
  peer!: Socket;
  open = true;
  /** On their way to this end. */
  readonly inbox: Arrival[] = [];
  /** Set until the answer to {@link Network.connect} has arrived. */
  connecting: { opened(): void; failed(): void } | undefined;
  readonly #network: Network;

  constructor(network: Network, owner: Actor) {
    this.#network = network;
    this.owner = owner;
  }

  send(message: Message): void {
    if (this.open) this.#network.carry(this.peer, message);
  }

  /** Closes this end; its owner hears no more of it. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.#network.carry(this.peer, "end");
  }

  /** The first of what is on its way arrives. */
  deliver(): void {
    if (!this.open || this.#network.blocked(this.owner, this.peer.owner)) return;
    const arrival = this.inbox.shift();
    if (arrival === undefined) return;
    if (arrival === "open") {
      const { connecting } = this;
      this.connecting = undefined;
      connecting?.opened();
    } else if (arrival === "end") {
      this.lose();
    } else {
      this.#network.trace.note(this.owner.name, arrival.t, this.peer.owner.name);
      this.owner.received(this, arrival);
    }
  }

  /** This end is gone, and its owner is told. */
  lose(): void {
    if (!this.open) return;
    this.close();
    if (this.connecting) this.connecting.failed();
    else this.owner.lost(this);
  }
}

export class Network {
  readonly trace: Trace;
  readonly #random: Random;
  /** First ends; those that are over are swept out from time to time. */
  #connections: Socket[] = [];
  #islands: Set<Actor>[] = [];
  #poweredOff = new Set<Actor>();
  #sweepAt = 64;
  /** Of messages that take long. */
  slowShare = 0.03;

  constructor(random: Random, trace: Trace) {
    this.#random = random;
    this.trace = trace;
  }

  /** Calls `opened` with a connection, or `failed`, unless the caller dies first. */
  connect(from: Actor, to: Actor, opened: (socket: Socket) => void, failed: () => void): void {
    const delayNs = this.#delayNs();
    from.after(delayNs, "connects", () => {
      if (this.blocked(from, to) || this.#poweredOff.has(to))
        return from.after(CONNECT_LIMIT_NS, "cannot connect", failed);
      if (!to.alive) return from.after(delayNs, "is refused", failed);
      const socket = new Socket(this, from);
      const other = new Socket(this, to);
      socket.peer = other;
      other.peer = socket;
      socket.connecting = { opened: () => opened(socket), failed };
      this.#sweep();
      this.#connections.push(socket);
      this.carry(socket, "open");
      to.accepted(other);
    });
  }

  carry(to: Socket, arrival: Arrival): void {
    if (!to.open) return;
    to.inbox.push(arrival);
    to.owner.after(this.#delayNs(), "receives", () => to.deliver());
  }

  blocked(a: Actor, b: Actor): boolean {
    for (const island of this.#islands) if (island.has(a) !== island.has(b)) return true;
    return false;
  }

  /** Cuts an island off. Returns what heals it. */
  partition(island: Set<Actor>): () => void {
    this.#islands.push(island);
    for (const socket of this.#connections)
      if (island.has(socket.owner) !== island.has(socket.peer.owner)) {
        this.#giveUpLater(socket, () => this.#islands.includes(island));
        this.#giveUpLater(socket.peer, () => this.#islands.includes(island));
      }
    return () => {
      this.#islands = this.#islands.filter((one) => one !== island);
      for (const socket of this.#connections)
        for (const end of [socket, socket.peer])
          for (let i = 0; i < end.inbox.length; i++)
            end.owner.after(this.#delayNs(), "receives", () => end.deliver());
    };
  }

  /** One connection breaks. */
  breakOne(): void {
    const open = this.#connections.filter((socket) => socket.open && socket.peer.open);
    if (open.length === 0) return;
    const socket = this.#random.pick(open);
    this.trace.note(socket.owner.name, "loses its connection to", socket.peer.owner.name);
    for (const end of [socket, socket.peer]) {
      end.inbox.length = this.#random.between(0, end.inbox.length);
      this.carry(end, "end");
    }
  }

  /** A process is dead: the kernel closes its connections, or nobody does. */
  died(actor: Actor, silently: boolean): void {
    if (silently) this.#poweredOff.add(actor);
    for (const one of this.#connections)
      for (const socket of [one, one.peer]) {
        if (socket.owner !== actor || !socket.open) continue;
        const { peer } = socket;
        if (silently) {
          socket.open = false;
          this.#giveUpLater(peer, () => true);
        } else {
          peer.inbox.length = this.#random.between(0, peer.inbox.length);
          socket.close();
        }
      }
  }

  poweredOn(actor: Actor): void {
    this.#poweredOff.delete(actor);
  }

  #giveUpLater(socket: Socket, still: () => boolean): void {
    socket.owner.after(this.#random.between(...SILENCE_NS), "hears nothing", () => {
      if (still()) socket.lose();
    });
  }

  #delayNs(): number {
    return this.#random.chance(this.slowShare)
      ? this.#random.between(2 * MS, 60 * MS)
      : this.#random.between(20 * US, 800 * US);
  }

  #sweep(): void {
    if (this.#connections.length < this.#sweepAt) return;
    this.#connections = this.#connections.filter((socket) => socket.open || socket.peer.open);
    this.#sweepAt = 64 + 2 * this.#connections.length;
  }
}
