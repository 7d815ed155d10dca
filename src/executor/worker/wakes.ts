/** What ends the sleep of a worker that is parked in its event loop: a byte on its socket, or the last promise settling. */
import type { Socket } from "bun";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import type { Resume } from "../../protocol/host-messages.ts";

export class Wakes {
  #resolve: (() => void) | undefined;
  #socket: Promise<Socket<undefined>> | undefined;

  /** A byte that comes before the socket is watched waits in it. The first that comes to a worker at rest is an order to `resume`. */
  watch(fd: number, resume?: (order: Resume) => void): void {
    let first = resume;
    this.#socket = watchDescriptor(fd, {
      data: (_, bytes) => {
        const order = first;
        first = undefined;
        // A call may have come behind it.
        if (order) order(JSON.parse(bytes.toString("utf8", 0, bytes.indexOf("\n"))) as Resume);
        else this.wake();
      },
    });
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  wake(): void {
    this.#resolve?.();
    this.#resolve = undefined;
  }

  /** Closes the socket. */
  async end(): Promise<void> {
    (await this.#socket)?.terminate();
  }
}
