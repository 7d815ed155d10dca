/** Stands between a client and a node, and counts what the client sends. */
import { type Socket, connect, createServer } from "node:net";
import { FrameReader } from "../../src/protocol/frame.ts";

export class CountingWay implements Disposable {
  /** The kinds of messages that clients have sent, in order. */
  readonly sent: string[] = [];
  sentBytes = 0;
  readonly #server;
  readonly #sockets = new Set<Socket>();

  /** Clients connect to the socket `address`, and reach the node at the socket `node`. */
  static async open(address: string, node: string): Promise<CountingWay> {
    const way = new CountingWay(node);
    const listening = Promise.withResolvers<void>();
    way.#server.listen(address, listening.resolve);
    await listening.promise;
    return way;
  }

  private constructor(node: string) {
    this.#server = createServer((client) => {
      const reader = new FrameReader();
      const way = connect(node);
      client.on("data", (bytes) => {
        this.sentBytes += bytes.length;
        for (const message of reader.push(Buffer.from(bytes as Buffer)))
          this.sent.push((message as { t: string }).t);
      });
      client.pipe(way).pipe(client);
      for (const socket of [client, way]) {
        this.#sockets.add(socket);
        socket.on("error", () => socket.destroy());
      }
    });
  }

  /** How often clients have sent this kind of message. */
  count(t: string): number {
    return this.sent.filter((kind) => kind === t).length;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
