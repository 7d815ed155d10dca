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

/** What the owner of one end hears of a connection. */
export interface SocketEvents {
  /** The other end has taken it; of a connection that was {@link Network.connect}ed. */
  opened?(): void;
  received(message: Message): void;
  /** It is gone, and with it what had not arrived; or it was never made. */
  lost(): void;
}

/** One end of a connection. */
export class Socket {
  readonly owner: Actor;
  /** The other end; undefined while there is none. */
  peer: Socket | undefined;
  open = true;
  events: SocketEvents;
  /** On their way to this end. */
  readonly inbox: Arrival[] = [];
  readonly #network: Network;

  constructor(network: Network, owner: Actor, events: SocketEvents) {
    this.#network = network;
    this.owner = owner;
    this.events = events;
  }

  send(message: Message): void {
    if (this.open && this.peer) this.#network.carry(this.peer, message);
  }

  /** Closes this end; its owner hears no more of it. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    if (this.peer) this.#network.carry(this.peer, "end");
  }

  /** The first of what is on its way arrives. */
  deliver(): void {
    const { peer } = this;
    if (!this.open || !peer || this.#network.blocked(this.owner, peer.owner)) return;
    const arrival = this.inbox.shift();
    if (arrival === undefined) return;
    if (arrival === "open") this.events.opened?.();
    else if (arrival === "end") this.lose();
    else {
      this.#network.trace.note(this.owner.name, arrival.t, peer.owner.name);
      this.events.received(arrival);
    }
  }

  /** This end is gone, and its owner is told. */
  lose(): void {
    if (!this.open) return;
    this.close();
    this.events.lost();
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

  /** Begins to connect: the socket opens, or is lost, unless its owner dies or closes it first. */
  connect(from: Actor, to: Actor, events: SocketEvents): Socket {
    const socket = new Socket(this, from, events);
    const delayNs = this.#delayNs();
    from.after(delayNs, "connects", () => {
      if (!socket.open) return;
      if (this.blocked(from, to) || this.#poweredOff.has(to))
        return void from.after(CONNECT_LIMIT_NS, "cannot connect", () => socket.lose());
      if (!to.alive) return void from.after(delayNs, "is refused", () => socket.lose());
      const other: Socket = new Socket(this, to, NOBODY);
      socket.peer = other;
      other.peer = socket;
      this.#sweep();
      this.#connections.push(socket);
      this.carry(socket, "open");
      other.events = to.accepted(other);
    });
    return socket;
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
      if (island.has(socket.owner) !== island.has(otherEnd(socket).owner))
        for (const end of [socket, otherEnd(socket)])
          this.#giveUpLater(end, () => this.#islands.includes(island));
    return () => {
      this.#islands = this.#islands.filter((one) => one !== island);
      for (const socket of this.#connections)
        for (const end of [socket, otherEnd(socket)])
          for (let i = 0; i < end.inbox.length; i++)
            end.owner.after(this.#delayNs(), "receives", () => end.deliver());
    };
  }

  /** One connection breaks. */
  breakOne(): void {
    const open = this.#connections.filter((socket) => socket.open && otherEnd(socket).open);
    if (open.length === 0) return;
    const socket = this.#random.pick(open);
    this.trace.note(socket.owner.name, "loses its connection to", otherEnd(socket).owner.name);
    for (const end of [socket, otherEnd(socket)]) {
      end.inbox.length = this.#random.between(0, end.inbox.length);
      this.carry(end, "end");
    }
  }

  /** A process is dead: the kernel closes its connections, or nobody does. */
  died(actor: Actor, silently: boolean): void {
    if (silently) this.#poweredOff.add(actor);
    for (const one of this.#connections)
      for (const socket of [one, otherEnd(one)]) {
        if (socket.owner !== actor || !socket.open) continue;
        const peer = otherEnd(socket);
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
    this.#connections = this.#connections.filter((socket) => socket.open || otherEnd(socket).open);
    this.#sweepAt = 64 + 2 * this.#connections.length;
  }
}

/** Of a connection that was made. */
const otherEnd = (socket: Socket): Socket => socket.peer!;

/** Until the process that was connected to has said who hears of it. */
const NOBODY: SocketEvents = { received() {}, lost() {} };
