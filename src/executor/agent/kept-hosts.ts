/**
 * Hosts that have loaded a package and wait for another lease of it, by their last lease's wish. `lease/keeping.ts` decides; this file
 * ends those that go, and hears of those that die.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { Keeping } from "../../lease/keeping.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { ReplyOf } from "../../protocol/declare.ts";
import { type Loaded, Rest } from "../../protocol/host-messages.ts";
import type { LeaseHost } from "./host-process.ts";
import { BoundedLog } from "../output/bounded-log.ts";
import { RestWatch } from "../limits/rest-watch.ts";
import { letGo } from "./let-go.ts";
import type { LeaseMemory } from "./lease-memory.ts";
import type { Client } from "./reception.ts";

/** A host at rest. */
export interface RestingHost {
  host: LeaseHost;
  /** What it has said of its module. */
  loaded: Loaded;
  /** CPU time of what its former leases have started. */
  descendantsNs: number;
  /** The next lease's, which the host has mapped already. */
  memory: LeaseMemory;
}

export interface KeptHostsOptions {
  /** How many to keep at most. */
  limit: number;
  /** The memory that leases leave. */
  roomBytes(): number;
  /** There are more or fewer. */
  changed(): void;
  log(level: "info" | "warn", message: string): void;
  clock: Clock;
}

/** How long a host may take to come to rest, on a machine that is busy. */
const REST_LIMIT_MS = 500;
/** Timers fire up to a millisecond early. */
const TIMER_SLACK_MS = 1;

/**
 * Who and what a host can be kept for; undefined where it is not to be. A host serves one user, one package, and leases of one shape:
 * its heap is bounded, it has the next one's memory, and its workers wait as they do.
 */
export function keepKey({ identity, trusted }: Client, request: Allocate): string | undefined {
  const { module, workers, coresPerWorker = 1, memoryBytes, slots, fabric } = request;
  // Without a name it may be another person each time.
  if (!request.keepWarmMs || identity.shared) return undefined;
  const { polling, spinNs } = request;
  const { network = false, processes = false, env = {}, heapBytes, image } = request;
  const shape = [workers, coresPerWorker, memoryBytes, slots, polling, spinNs, fabric];
  const room = [network, processes, env, heapBytes, image];
  return JSON.stringify([identity.user, trusted, module, ...shape, ...room]);
}

/** What becomes of a host that is to come to rest. */
interface Rests {
  /** It rests, and has the next lease's memory. */
  rested(memory: LeaseMemory): void;
  /** It is let go, since functions have left this. */
  left(what: string): void;
}

/** The next lease's memory of hosts that are to come to rest: it goes where they die before. */
const offers = new WeakMap<LeaseHost, { memory: LeaseMemory | undefined }>();

/** A host outlives its leases, so its end is waited for once: what waits for it for each lease would gather. */
function offerOf(host: LeaseHost): { memory: LeaseMemory | undefined } {
  const known = offers.get(host);
  if (known) return known;
  const offer: { memory: LeaseMemory | undefined } = { memory: undefined };
  offers.set(host, offer);
  void host.exited.then(() => offer.memory?.close());
  return offer;
}

/**
 * Lets a host whose lease is over go over to memory for a next lease, in place of the `former`. It is let go, or ended by force, where that
 * cannot be.
 */
export function bringToRest(
  host: LeaseHost,
  former: LeaseMemory,
  disposes: boolean,
  clock: Clock,
  then: Rests,
): void {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const leave = (left: string): void => {
    then.left(left);
    letGo(host, disposes, clock);
  };
  let memory: LeaseMemory;
  try {
    memory = former.successor(host.mailbox, nonce);
  } catch (error) {
    return leave(`too little memory for another lease (${(error as Error).message})`);
  }
  const offer = offerOf(host);
  offer.memory = memory;
  let ending = false;
  const overdue = clock.after(REST_LIMIT_MS, () => {
    ending = true;
    if (disposes) letGo(host, disposes, clock);
    else host.kill();
  });
  const rested = ({ left }: ReplyOf<typeof Rest>): void => {
    // It is killed, or told to end.
    if (ending) return;
    overdue.clear();
    if (left !== null) return leave(left);
    offer.memory = undefined;
    then.rested(memory);
  };
  host.ask(Rest, { nonce: nonce.toHex() }, { onReply: rested }).catch(() => host.kill());
}

export class KeptHosts {
  readonly #options: KeptHostsOptions;
  readonly #keeping: Keeping<RestingHost>;
  readonly #ending = new Set<Promise<unknown>>();
  readonly #watches = new Map<RestingHost, RestWatch>();
  #open = true;
  #timer: Timer | undefined;
  /** How many there were when {@link KeptHostsOptions.changed} was called last. */
  #told = 0;

  constructor(options: KeptHostsOptions) {
    this.#options = options;
    this.#keeping = new Keeping(options.limit);
  }

  get size(): number {
    return this.#keeping.size;
  }

  /** Whether hosts are kept at all: none while the node drains. */
  get open(): boolean {
    return this.#open && this.#options.limit > 0;
  }

  /** Keeps a host, or ends it where there is no room. */
  keep(resting: RestingHost, key: string, keepMs: number): void {
    const { host, memory } = resting;
    const { log, clock } = this.#options;
    const missing = (text: string) => log("warn", `a kept host: ${text}`);
    const bounded = new BoundedLog({ hasRoom: () => true, printed() {}, missing }, clock);
    host.attend({
      // What its module says as it is disposed of, too.
      notice: (notice) => {
        if (notice.t !== "host-log") return;
        const text = `a kept host: ${JSON.stringify(notice.line.message)}`;
        if (bounded.admits(text.length)) log("info", text);
      },
      exited: () => {
        this.#keeping.forget(resting);
        this.#unwatch(resting);
        memory.close();
        this.#schedule();
      },
    });
    if (!this.#open) return this.#end([resting]);
    const untilNs = this.#options.clock.nowNs() + keepMs * 1e6;
    const memoryBytes = host.privateBytes() + memory.takenBytes;
    const watch = new RestWatch(host, this.#options.clock, (why) => {
      this.#options.log("warn", `a kept host is ended: while it had no lease, it ${why}`);
      this.#keeping.forget(resting);
      host.kill();
      this.#schedule();
    });
    this.#watches.set(resting, watch);
    const keep = { host: resting, key, memoryBytes, untilNs };
    this.#end(this.#keeping.keep(keep, this.#options.roomBytes()));
  }

  /** A host for a lease of this key; undefined where none is kept. One that has just died is passed over. */
  take(key: string): RestingHost | undefined {
    const nowNs = this.#options.clock.nowNs();
    let taken = this.#keeping.take(key, nowNs);
    while (taken && !taken.host.isAlive()) taken = this.#keeping.take(key, nowNs);
    if (taken) this.#unwatch(taken);
    this.#schedule();
    return taken;
  }

  /** A lease has taken memory: hosts that have no room beside it go. */
  fit(): void {
    if (this.size > 0) this.#end(this.#keeping.fit(this.#options.roomBytes()));
  }

  /** Ends the host that was kept longest, and resolves when it is gone; returns undefined where none is kept. */
  evict(): Promise<unknown> | undefined {
    const evicted = this.#keeping.evict();
    if (!evicted) return undefined;
    this.#end([evicted]);
    return evicted.host.exited;
  }

  /** The node drains: all of them end, and none is kept until {@link resume}. */
  drain(): void {
    this.#open = false;
    this.#end(this.#keeping.clear());
  }

  resume(): void {
    this.#open = true;
  }

  /** Resolves when all that are to end have ended. */
  async close(): Promise<void> {
    this.drain();
    await Promise.all(this.#ending);
  }

  #end(all: readonly RestingHost[]): void {
    for (const resting of all) {
      const { host, loaded, memory } = resting;
      this.#unwatch(resting);
      memory.close();
      letGo(host, loaded.disposes ?? false, this.#options.clock);
      this.#ending.add(host.exited);
      void host.exited.then(() => this.#ending.delete(host.exited));
    }
    this.#schedule();
  }

  #unwatch(resting: RestingHost): void {
    this.#watches.get(resting)?.stop();
    this.#watches.delete(resting);
  }

  /** How many there are, and how long, may have changed. */
  #schedule(): void {
    this.#timer?.clear();
    const { clock } = this.#options;
    if (this.size !== this.#told) {
      this.#told = this.size;
      this.#options.changed();
    }
    const dueNs = this.#keeping.nextDueNs();
    if (dueNs === Infinity) return;
    const inMs = Math.max(0, (dueNs - clock.nowNs()) / 1e6) + TIMER_SLACK_MS;
    this.#timer = clock.after(inMs, () => this.#end(this.#keeping.passTime(clock.nowNs())));
    this.#timer.unref();
  }
}
