/** A control connection that is made again for as long as it is wanted, in the background. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../base/clock.ts";
import type { Link, LinkEvents } from "./link.ts";

export interface LastingEvents<In> {
  /** Connected, perhaps again: the moment to greet. */
  opened(): void;
  message(message: In): void;
  /** The connection ended, or none could be made; another one is tried soon. */
  lost(reason: Error): void;
}

/** What it keeps time by, and how it chooses its pauses; the machine's, unless a test has its own. */
export interface LastingOptions {
  clock?: Clock;
  /** At random among [0, 1). */
  random?: () => number;
}

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;
const TICK_MS = 1_000;
/**
 * Ticks until a peer must have taken us, at first; twice as many each time that it did not. The kernel sends the first packet
 * again after a second: with fewer, we would abandon what is about to be taken.
 */
const FIRST_PATIENCE_TICKS = 2;

export class LastingConnection<In, Out> {
  readonly #connect: (events: LinkEvents<In>) => Link<Out>;
  readonly #events: LastingEvents<In>;
  readonly #silenceTicks: number;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #ticker: Timer;
  #link: Link<Out> | undefined;
  #retry: Timer | undefined;
  #delayMs = FIRST_DELAY_MS;
  #patienceTicks = FIRST_PATIENCE_TICKS;
  #taken = false;
  /** Counted in ticks: while we did not run ourselves, few of them pass. */
  #quietTicks = 0;
  #holds = true;
  #closed = false;

  /**
   * Starts connecting, as often as needed by `connect`. A peer that says nothing for `silenceMs` is abandoned. One that has not taken
   * us yet is abandoned sooner: where too many wait to be accepted, the kernel drops some, and tries them again ever more rarely.
   */
  constructor(
    connect: (events: LinkEvents<In>) => Link<Out>,
    silenceMs: number,
    events: LastingEvents<In>,
    { clock = SYSTEM_CLOCK, random = Math.random }: LastingOptions = {},
  ) {
    this.#connect = connect;
    this.#events = events;
    this.#silenceTicks = Math.max(1, Math.ceil(silenceMs / TICK_MS));
    this.#clock = clock;
    this.#random = random;
    this.#ticker = clock.every(TICK_MS, () => this.#tick());
    this.#open();
  }

  /** Sends when there is a connection; else the message is dropped. */
  send(message: Out): void {
    this.#link?.send(message);
  }

  /** The peer took us: the next loss is the first again. */
  accepted(): void {
    this.#taken = true;
    this.#delayMs = FIRST_DELAY_MS;
    this.#patienceTicks = FIRST_PATIENCE_TICKS;
  }

  /** Whether this keeps the program alive; it does until told otherwise. */
  hold(holds: boolean): void {
    this.#holds = holds;
    this.#applyHold();
  }

  /** Ends the connection after what was sent; no other is made. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ticker.clear();
    this.#retry?.clear();
    const link = this.#link;
    this.#link = undefined;
    link?.close();
    // Unacknowledged data to a dead peer must not keep the process alive.
    link?.unref();
  }

  #open(): void {
    this.#quietTicks = 0;
    this.#taken = false;
    const link: Link<Out> = this.#connect({
      opened: () => {
        if (this.#link !== link) return;
        this.#applyHold();
        this.#events.opened();
      },
      message: (message) => {
        if (this.#link !== link) return;
        this.#quietTicks = 0;
        this.#events.message(message);
      },
      closed: (error) => this.#lost(link, error ?? new Error("it was closed")),
    });
    this.#link = link;
  }

  #lost(link: Link<Out>, reason: Error): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    // Not all of those who lost a manager come back at once.
    const delayMs = this.#delayMs * (0.5 + this.#random() / 2);
    this.#delayMs = Math.min(MAX_DELAY_MS, this.#delayMs * 2);
    this.#retry = this.#clock.after(delayMs, () => this.#open());
    this.#applyHold();
    this.#events.lost(reason);
  }

  #tick(): void {
    if (!this.#link) return;
    const limit = this.#taken ? this.#silenceTicks : this.#patienceTicks;
    if (++this.#quietTicks <= limit) return;
    if (!this.#taken) this.#patienceTicks = Math.min(this.#silenceTicks, 2 * limit);
    this.#link.close(new Error(this.#taken ? "it is silent" : "it does not answer"));
  }

  #applyHold(): void {
    for (const timer of [this.#ticker, this.#retry]) {
      if (this.#holds) timer?.ref();
      else timer?.unref();
    }
    if (this.#holds) this.#link?.ref();
    else this.#link?.unref();
  }
}
