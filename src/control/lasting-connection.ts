/** A control connection that is made again for as long as it is wanted, in the background. */
import type { Address } from "./address.ts";
import { Connection } from "./connection.ts";
import { type Dialling, dial } from "./dial.ts";
import type { Vocabulary } from "../protocol/vocabulary.ts";

export interface LastingEvents<In> {
  /** Connected, perhaps again: the moment to greet. */
  opened(): void;
  message(message: In): void;
  /** The connection ended, or none could be made; another one is tried soon. */
  lost(reason: Error): void;
}

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;
const TICK_MS = 1_000;
/**
 * Ticks until a peer must have taken us, at first; twice as many each time that it did not. The kernel sends the first packet
 * again after a second: with fewer, we would give up what is about to be taken.
 */
const FIRST_PATIENCE_TICKS = 2;

export class LastingConnection<In extends { t: string }, Out extends { t: string }> {
  readonly #address: Address;
  readonly #vocabulary: Vocabulary<In>;
  readonly #events: LastingEvents<In>;
  readonly #silenceTicks: number;
  readonly #ticker: ReturnType<typeof setInterval>;
  #connection: Connection<In, Out> | undefined;
  #dialling: Dialling | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #delayMs = FIRST_DELAY_MS;
  #patienceTicks = FIRST_PATIENCE_TICKS;
  #taken = false;
  /** Counted in ticks: while we did not run ourselves, few of them pass. */
  #quietTicks = 0;
  #holds = true;
  #closed = false;

  /**
   * Starts connecting. A peer that says nothing for `silenceMs` is given up. One that has not taken us yet is given up sooner: where
   * too many wait to be accepted, the kernel drops some, and tries them again ever more rarely.
   */
  constructor(
    address: Address,
    vocabulary: Vocabulary<In>,
    silenceMs: number,
    events: LastingEvents<In>,
  ) {
    this.#address = address;
    this.#vocabulary = vocabulary;
    this.#events = events;
    this.#silenceTicks = Math.max(1, Math.ceil(silenceMs / TICK_MS));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#connect();
  }

  /** Sends when there is a connection; else the message is dropped. */
  send(message: Out): void {
    this.#connection?.send(message);
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
    clearInterval(this.#ticker);
    clearTimeout(this.#retry);
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
    // What a vanished peer has not acknowledged keeps nobody.
    connection?.unref();
    this.#dialling?.giveUp();
  }

  #connect(): void {
    const connection: Connection<In, Out> = new Connection(this.#vocabulary, {
      message: (message) => {
        this.#quietTicks = 0;
        if (this.#connection === connection) this.#events.message(message);
      },
      closed: (error) => this.#lost(connection, error ?? new Error("it was closed")),
    });
    this.#connection = connection;
    this.#quietTicks = 0;
    this.#taken = false;
    const dialling = dial(this.#address, {
      opened: (wire) => {
        this.#dialling = undefined;
        connection.opened(wire);
        this.#applyHold();
        this.#events.opened();
      },
      received: (bytes) => connection.received(bytes),
      drained: () => connection.drained(),
      close: (error) => connection.close(error),
    });
    this.#dialling = dialling;
    dialling.connected.catch((error: Error) => this.#lost(connection, error));
  }

  #lost(connection: Connection<In, Out>, reason: Error): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#dialling?.giveUp();
    this.#dialling = undefined;
    // Not all of those who lost a manager come back at once.
    const delayMs = this.#delayMs * (0.5 + Math.random() / 2);
    this.#delayMs = Math.min(MAX_DELAY_MS, this.#delayMs * 2);
    this.#retry = setTimeout(() => this.#connect(), delayMs);
    this.#applyHold();
    this.#events.lost(reason);
  }

  #tick(): void {
    if (!this.#connection) return;
    const limit = this.#taken ? this.#silenceTicks : this.#patienceTicks;
    if (++this.#quietTicks <= limit) return;
    if (!this.#taken) this.#patienceTicks = Math.min(this.#silenceTicks, 2 * limit);
    this.#connection.close(new Error(this.#taken ? "it is silent" : "it does not answer"));
  }

  #applyHold(): void {
    for (const timer of [this.#ticker, this.#retry]) {
      if (this.#holds) timer?.ref();
      else timer?.unref();
    }
    if (this.#holds) this.#connection?.ref();
    else this.#connection?.unref();
  }
}
