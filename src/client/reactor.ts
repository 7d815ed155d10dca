/**
 * Drives awaited calls from the event loop: looks for answers in quick turns first, then sleeps until a worker writes one byte
 * to the lease's notify socket.
 */
import type { Socket } from "bun";
import { watchDescriptor } from "../watch-descriptor.ts";
import type { Call } from "./call.ts";

/** Turning costs CPU; being woken costs about this long. */
const TURN_NS = 50_000;
const BRIEFLY_NS = 2_000;
const KEEP_ALIVE_MS = 2 ** 30;

/** What the reactor needs of the lease's workers. */
export interface Reactive {
  /** Ends every call that has an answer; returns how many. */
  harvest(): number;
  /** From now on an answer writes to the notify socket. */
  park(): void;
  unpark(): void;
}

export class Reactor {
  readonly #source: Reactive;
  #socket: Socket<undefined> | undefined;
  #watched = 0;
  #running = false;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(source: Reactive) {
    this.#source = source;
  }

  /** Watches the notify socket, which the reactor closes. */
  async open(notifyFd: number): Promise<void> {
    this.#socket = await watchDescriptor(notifyFd, { data: () => this.rouse() });
    this.#socket.unref();
  }

  /** Follows the call to its end. */
  watch(call: Call): void {
    if (call.watched || call.done) return;
    call.watched = true;
    this.#watched++;
    const { cleanUp } = call;
    call.cleanUp = () => {
      cleanUp?.();
      this.#watched--;
      if (this.#watched === 0) this.rouse();
    };
    if (!this.#running) void this.#run();
  }

  /** Ends the sleep, if there is one. A blocking wait elsewhere takes the workers' wake-up over, so it calls this afterwards. */
  rouse(): void {
    if (this.#wake === undefined) return;
    this.#wake();
    this.#wake = undefined;
  }

  /** Ends it for good; the endpoints may be closed afterwards. */
  close(): void {
    this.#closed = true;
    this.rouse();
    this.#socket?.end();
  }

  async #run(): Promise<void> {
    this.#running = true;
    let progressNs = Bun.nanoseconds();
    let turnedNs = progressNs;
    while (this.#watched > 0 && !this.#closed) {
      if (this.#harvestBriefly() > 0) {
        progressNs = Bun.nanoseconds();
        // Whoever waited goes on first, and may submit again.
        await undefined;
        if (progressNs - turnedNs < TURN_NS) continue;
      } else if (Bun.nanoseconds() - progressNs > TURN_NS) {
        await this.#sleep();
        progressNs = Bun.nanoseconds();
      }
      await new Promise((resolve) => setImmediate(resolve));
      turnedNs = Bun.nanoseconds();
    }
    this.#running = false;
  }

  /** A hot call takes less than a turn of the event loop: look for so long before giving way. */
  #harvestBriefly(): number {
    const startedNs = Bun.nanoseconds();
    let ended = 0;
    do ended = this.#source.harvest();
    while (ended === 0 && Bun.nanoseconds() - startedNs < BRIEFLY_NS);
    return ended;
  }

  async #sleep(): Promise<void> {
    this.#source.park();
    // An answer may have come before the workers knew that we sleep.
    if (this.#source.harvest() === 0 && this.#watched > 0) {
      // The program must live until the call ends, and the socket may close first: its other end is the worker's.
      const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      clearInterval(keepAlive);
    }
    if (!this.#closed) this.#source.unpark();
  }
}
