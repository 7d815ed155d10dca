/** What sits between a client and a node, passes on what both say, and keeps all of it. */
import { type Socket, connect } from "node:net";
import { createServer } from "node:net";
import { once } from "node:events";

/** One connection through the relay. */
export interface Recorded {
  /** What the client said. */
  sent: Buffer[];
  /** What the node said. */
  received: Buffer[];
}

export class RecordingRelay implements AsyncDisposable {
  readonly connections: Recorded[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((client) => this.#join(client));
  readonly #to: { host: string; port: number };

  private constructor(to: { host: string; port: number }) {
    this.#to = to;
  }

  /** At an address of its own choice of this host, to another. */
  static async start(host: string, to: { host: string; port: number }): Promise<RecordingRelay> {
    const relay = new RecordingRelay(to);
    relay.#server.listen(0, host);
    await once(relay.#server, "listening");
    return relay;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  #join(client: Socket): void {
    const recorded: Recorded = { sent: [], received: [] };
    this.connections.push(recorded);
    const node = connect(this.#to);
    for (const [from, to, into] of [
      [client, node, recorded.sent],
      [node, client, recorded.received],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (bytes: Buffer) => {
        into.push(Buffer.from(bytes));
        to.write(bytes);
      });
      from.on("end", () => void to.end());
      from.on("error", () => void to.destroy());
      from.on("close", () => void to.destroy());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
