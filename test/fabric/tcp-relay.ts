/** What lies between a client and a node: sees all that passes, and may change it, keep it back or cut it off. */
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

export type Way = "client" | "node";

/** One connection, from both ends. */
export interface Passage {
  /** Behind the channels, the side way; -1 before the greeting. */
  channel: number;
  readonly ends: Readonly<Record<Way, Socket>>;
  /** How many bytes have come for each. */
  readonly come: Record<Way, number>;
  /** What comes for each is kept in its order. */
  readonly turn: Record<Way, Promise<void>>;
}

/** What becomes of bytes that have come: those that are returned go on. `at` is where they begin in all that came this way. */
export type Treatment = (bytes: Buffer, to: Way, passage: Passage, at: number) => MaybePromise;
type MaybePromise = Buffer | undefined | Promise<Buffer | undefined>;

const pass: Treatment = (bytes) => bytes;

export class Relay implements Disposable {
  readonly port: number;
  readonly passages: Passage[] = [];
  /** All that has passed, or was to. */
  seen = Buffer.alloc(0);
  treat: Treatment = pass;
  readonly #server: ReturnType<typeof createServer>;

  private constructor(server: ReturnType<typeof createServer>, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async open(target: number, host = "127.0.0.1"): Promise<Relay> {
    const server = createServer({ noDelay: true, allowHalfOpen: true });
    server.listen(0, host);
    await once(server, "listening");
    const relay = new Relay(server, (server.address() as { port: number }).port);
    server.on("connection", (socket) => relay.#accept(socket, target, host));
    return relay;
  }

  #accept(client: Socket, target: number, host: string): void {
    const node = connect({ port: target, host, noDelay: true, allowHalfOpen: true });
    const now = Promise.resolve();
    const passage: Passage = {
      channel: -1,
      ends: { client, node },
      come: { client: 0, node: 0 },
      turn: { client: now, node: now },
    };
    this.passages.push(passage);
    this.#lead(client, "node", passage);
    this.#lead(node, "client", passage);
  }

  #lead(from: Socket, to: Way, passage: Passage): void {
    const { ends, come, turn } = passage;
    const next = (then: () => unknown) =>
      void (turn[to] = turn[to].then(async () => void (await then())));
    from.on("data", (bytes: Buffer) => {
      this.seen = Buffer.concat([this.seen, bytes]);
      const at = come[to];
      come[to] += bytes.length;
      if (to === "node" && at === 0) passage.channel = bytes.readUInt16LE(6);
      next(async () => {
        const on = await this.treat(bytes, to, passage, at);
        if (on) ends[to].write(on);
      });
    });
    from.on("end", () => next(() => ends[to].end()));
    from.on("error", () => next(() => ends[to].destroy()));
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const { ends } of this.passages) for (const end of Object.values(ends)) end.destroy();
  }
}

/** Byte by byte, each in a segment of its own. */
export const drip: Treatment = async (bytes, to, { ends }) => {
  for (const byte of bytes) {
    ends[to].write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  return undefined;
};

/** The same with one bit of the byte at `offset` of `way` changed. */
export const flip =
  (way: Way, offset: number): Treatment =>
  (bytes, to, _, at) => {
    const changed = Buffer.from(bytes);
    if (to === way && offset >= at && offset < at + bytes.length) changed[offset - at]! ^= 0x10;
    return changed;
  };
