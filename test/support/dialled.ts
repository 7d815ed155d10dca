/** Connections that lead to the test itself: it sees each attempt, and plays the peer. */
import type { Address } from "../../src/control/address.ts";
import type { Dial, Link, LinkEvents } from "../../src/control/link.ts";

/** An attempt to connect, and what comes of it. */
export interface Dialled<In, Out> {
  readonly address: Address;
  /** What was sent to the peer, and not looked at by the test. */
  readonly sent: Out[];
  readonly over: boolean;
  /** Whether it keeps the program alive. */
  readonly held: boolean;
  open(): void;
  say(message: In): void;
  breakOff(reason?: string): void;
}

export class DialledLinks<In extends { t: string }, Out extends { t: string }> {
  readonly all: Dialled<In, Out>[] = [];

  /** The newest attempt. */
  get last(): Dialled<In, Out> {
    return this.all.at(-1)!;
  }

  /** The function that connects; each call is another attempt. */
  get dial(): Dial {
    return ((address: Address, _: unknown, events: LinkEvents<In>): Link<Out> => {
      const sent: Out[] = [];
      const state = { over: false, held: true };
      const close = (error?: Error): void => {
        if (state.over) return;
        state.over = true;
        events.closed(error);
      };
      this.all.push({
        address,
        sent,
        get over() {
          return state.over;
        },
        get held() {
          return state.held;
        },
        open: () => events.opened(),
        say: (message) => events.message(message),
        breakOff: (reason = "it was closed") => close(new Error(reason)),
      });
      return {
        send: (message) => void (state.over || sent.push(message)),
        close,
        ref: () => void (state.held = true),
        unref: () => void (state.held = false),
      };
    }) as Dial;
  }
}
