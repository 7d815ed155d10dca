/** A control connection that reconnects in the background until it is closed. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../base/clock.ts";
import type { Acquaintance, Reached } from "./dial-socket.ts";
import type { Link, LinkEvents } from "./link.ts";

export interface LastingEvents<In> {
  /** Connected, perhaps again: the moment to greet. `peer` and `reached` are as {@link LinkEvents.opened} says. */
  opened(peer?: Acquaintance, reached?: Reached): void;
  message(message: In): void;
  /** The connection ended, or an attempt failed; the next attempt follows soon. */
  lost(reason: Error): void;
}

/** Its clock, and the source of chance for its pauses; the machine's, unless a test has its own. */
export interface LastingOptions {
  clock?: Clock;
  /** At random among [0, 1). */
  random?: () => number;
  /** The longest pause between two attempts. Default: 2 s. */
  maxDelayMs?: number | undefined;
}

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;
const TICK_MS = 1_000;
/**
 * Ticks until a peer must have accepted a connection, at first; doubled each time that it did not. The kernel retransmits the first
 * packet after a second: with fewer ticks, we would abandon an attempt that is about to succeed.
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
  readonly #maxDelayMs: number;
  #delayMs = FIRST_DELAY_MS;
  #patienceTicks = FIRST_PATIENCE_TICKS;
  #taken = false;
  /** Counted in ticks, not by the clock: few ticks pass while this process itself does not run. */
  #quietTicks = 0;
  #holds = true;
  #closed = false;

  /**
   * Starts connecting, by `connect` for each attempt. It abandons a connection whose peer is silent for `silenceMs`, and sooner one that
   * the peer has not accepted: where too many wait to be accepted, the kernel drops some, and retries them ever more rarely.
   */
  constructor(
    connect: (events: LinkEvents<In>) => Link<Out>,
    silenceMs: number,
    events: LastingEvents<In>,
    { clock = SYSTEM_CLOCK, random = Math.random, maxDelayMs = MAX_DELAY_MS }: LastingOptions = {},
  ) {
    this.#maxDelayMs = maxDelayMs;
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

  /** The peer has accepted us: after the next loss, pauses start from the shortest again. */
  accepted(): void {
    this.#taken = true;
    this.#delayMs = FIRST_DELAY_MS;
    this.#patienceTicks = FIRST_PATIENCE_TICKS;
  }

  /** Whether this keeps the program alive. Default true. */
  hold(holds: boolean): void {
    this.#holds = holds;
    this.#applyHold();
  }

  /** Ends the connection after the messages that were sent, and does not reconnect. */
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
      opened: (peer, reached) => {
        if (this.#link !== link) return;
        this.#applyHold();
        this.#events.opened(peer, reached);
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
    // Random, so that peers that lost one manager do not all reconnect at once.
    const delayMs = this.#delayMs * (0.5 + this.#random() / 2);
    this.#delayMs = Math.min(this.#maxDelayMs, this.#delayMs * 2);
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
