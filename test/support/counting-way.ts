/** Stands between a client and a node, and counts what the client sends. */
import { type NetConnectOpts, type Socket, connect, createServer } from "node:net";
import { parseAddress } from "../../src/control/address.ts";
import { tcp } from "../../src/fabric/tcp/fabric.ts";
import { FrameReader } from "../../src/protocol/frame.ts";
import { nodeAddress } from "./fabric.ts";

const placeOf = (address: string): NetConnectOpts => {
  const place = parseAddress(address);
  return place.kind === "unix" ? { path: place.path } : { host: place.host, port: place.port };
};

export class CountingWay implements Disposable {
  /** The kinds of messages that clients have sent, in order. */
  readonly sent: string[] = [];
  sentBytes = 0;
  /** Where clients connect. */
  readonly address: string;
  readonly #server;
  readonly #sockets = new Set<Socket>();

  /** Clients reach the node at `node`. The way has a socket at `path`, or, where the nodes of the tests have ports, one of those. */
  static async open(path: string, node: string): Promise<CountingWay> {
    const way = new CountingWay(nodeAddress(path), node);
    const listening = Promise.withResolvers<void>();
    way.#server.listen(placeOf(way.address), listening.resolve);
    await listening.promise;
    return way;
  }

  private constructor(address: string, node: string) {
    this.address = address;
    this.#server = createServer((client) => {
      const reader = new FrameReader();
      const way = connect(placeOf(node));
      let isData = false;
      client.on("data", (bytes: Buffer) => {
        // The data of leases over tcp comes the same way, and is not counted.
        isData ||= bytes.indexOf(tcp.greeting!.begins) === 0;
        if (isData) return;
        this.sentBytes += bytes.length;
        for (const message of reader.push(Buffer.from(bytes)))
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
