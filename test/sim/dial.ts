/** How the real links connect here: over the simulated network, from one process to another. */
import type { Dial, Link, LinkEvents } from "../../src/control/link.ts";
import type { Actor } from "./actor.ts";
import type { Message } from "./messages.ts";
import type { World } from "./world.ts";

/** Sees what comes and goes. */
export interface Listener {
  sent(message: Message): void;
  arrives(message: Message): void;
}

export function dialOver(
  { network }: World,
  from: Actor,
  to: Actor,
  listener: Listener = { sent() {}, arrives() {} },
): Dial {
  const dial = (_address: unknown, _vocabulary: unknown, events: LinkEvents<Message>) => {
    let over = false;
    const socket = network.connect(from, to, {
      opened: () => events.opened(),
      received(message) {
        listener.arrives(message);
        events.message(message);
      },
      lost: () => close(new Error("the connection was lost")),
    });
    const close = (error?: Error): void => {
      if (over) return;
      over = true;
      socket.close();
      events.closed(error);
    };
    const link: Link<Message> = {
      send(message) {
        listener.sent(message);
        socket.send(message);
      },
      close,
      ref() {},
      unref() {},
    };
    return link;
  };
  // Whose messages these are is for the two ends to know: nothing is encoded on the way.
  return dial as unknown as Dial;
}
