/** The wire of the tcp fabric as a test speaks it, right or wrong: `ffi/shim/tcp/tcp.h` has the frames. */
import { type Socket, connect, createServer } from "node:net";
import { once } from "node:events";
import { until } from "../support/until.ts";

export const HEAD_BYTES = 40;
export const KIND = {
  request: 1,
  response: 2,
  timing: 3,
  ended: 4,
  read: 5,
  write: 6,
  add: 7,
  swap: 8,
  done: 9,
  beat: 10,
};
/** `enum rfaas_tcp_rejection`; 0 is a welcome. */
export const REJECTION = { none: 0, version: 1, secret: 2, channel: 3, memory: 4, encryption: 5 };
const MAGIC = 0x72665443;
const VERSION = 1;

export interface Greeting {
  channel: number;
  nonce: Uint8Array;
  regionBytes: number;
  slots: number;
  version?: number;
  /** A handshake of TLS follows the answer. */
  encrypted?: boolean;
}

export function greeting({
  channel,
  nonce,
  regionBytes,
  slots,
  version = VERSION,
  encrypted = false,
}: Greeting): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(MAGIC, 0);
  out.writeUInt16LE(version, 4);
  out.writeUInt16LE(channel, 6);
  out.set(nonce, 8);
  out.writeBigUInt64LE(BigInt(regionBytes), 24);
  out.writeUInt32LE(slots, 40);
  out.writeUInt8(encrypted ? 1 : 0, 44);
  return out;
}

export function welcome(rejection = REJECTION.none): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(MAGIC, 0);
  out.writeUInt16LE(VERSION, 4);
  out.writeUInt16LE(rejection, 6);
  return out;
}

/** `words` are what differs from kind to kind. */
export function frame(
  kind: number,
  { slot = 0, sequence = 1, bytes = 0 }: { slot?: number; sequence?: number; bytes?: number },
  words: number[] = [],
): Buffer {
  const out = Buffer.alloc(HEAD_BYTES);
  out.writeUInt16LE(kind, 0);
  out.writeUInt16LE(slot, 2);
  out.writeUInt32LE(sequence >>> 0, 4);
  out.writeUInt32LE(bytes >>> 0, 8);
  for (const [i, word] of words.entries()) out.writeUInt32LE(word >>> 0, 16 + 4 * i);
  return out;
}

/** A request for function 0 whose input goes to `inputOffset`. */
export const request = (
  inputOffset: number,
  input: Uint8Array,
  over: {
    slot?: number;
    sequence?: number;
    bytes?: number;
    outputOffset?: number;
    capacity?: number;
    fn?: number;
  } = {},
): Buffer =>
  Buffer.concat([
    frame(KIND.request, { bytes: input.length, ...over }, [
      ...[inputOffset, over.outputOffset ?? 1024, over.capacity ?? 64, over.fn ?? 0, 0],
      over.slot ?? 0,
    ]),
    input,
  ]);

/** One side of a connection, by hand. */
export class RawSocket implements Disposable {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (data: Buffer) => (this.received = Buffer.concat([this.received, data])));
    socket.on("error", () => {});
    socket.on("close", () => (this.closed = true));
  }

  static async connect(port: number): Promise<RawSocket> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const raw = new RawSocket(socket);
    await once(socket, "connect");
    return raw;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Takes the next bytes that arrive. */
  async take(bytes: number): Promise<Buffer> {
    await until(() => this.received.length >= bytes || this.closed, `${bytes} bytes arrive`);
    const taken = this.received.subarray(0, bytes);
    this.received = this.received.subarray(bytes);
    return taken;
  }

  /** Greets, and resolves to the rejection, or undefined when the node has closed the connection without a word. */
  async greet(how: Greeting): Promise<number | undefined> {
    this.send(greeting(how));
    const answer = await this.take(8);
    return answer.length < 8 ? undefined : answer.readUInt16LE(6);
  }

  async end(): Promise<void> {
    await until(() => this.closed, "the connection is closed");
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A node by hand: a listener that gives each connection to the test. */
export async function rawNode(): Promise<{
  port: number;
  next(): Promise<RawSocket>;
  close(): void;
}> {
  const accepted: RawSocket[] = [];
  const server = createServer((socket) => accepted.push(new RawSocket(socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address() as { port: number };
  return {
    port: address.port,
    async next() {
      await until(() => accepted.length > 0, "a connection comes");
      return accepted.shift()!;
    },
    close() {
      server.close();
      for (const socket of accepted) socket[Symbol.dispose]();
    },
  };
}
