/** Stands between a client and a port of this machine, and lets bytes wait: a network of long ways. What it takes, its kernel acknowledges. */
import { type Server, type Socket, connect, createServer } from "node:net";
import { once } from "node:events";

export class Relay implements Disposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** How many connections have come. */
  connections = 0;

  private constructor(to: number, delayMs: number) {
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      this.connections++;
      const node = connect({ port: to, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
      for (const [from, onward] of [
        [client, node],
        [node, client],
      ] as const) {
        this.#sockets.add(from);
        // Timers of one length fire in their order.
        from.on("data", (bytes) => setTimeout(() => onward.write(bytes), delayMs));
        from.on("end", () => setTimeout(() => onward.end(), delayMs));
        from.on("error", () => onward.destroy());
        from.on("close", () => this.#sockets.delete(from));
      }
    });
  }

  /** Leads to the port `to`; each byte takes `delayMs`, one way. */
  static async open(to: number, delayMs: number): Promise<Relay> {
    const relay = new Relay(to, delayMs);
    relay.#server.listen(0, "127.0.0.1");
    await once(relay.#server, "listening");
    return relay;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
