/** A peer that says what it wants over a socket, sound or not, and hears all that comes back. */
import type { Socket, SocketHandler } from "bun";
import { parseAddress } from "../../src/control/address.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";

export class RawPeer implements Disposable {
  readonly heard: Record<string, unknown>[] = [];
  closed = false;
  readonly #reader = new FrameReader();
  #socket!: Socket<undefined>;
  readonly #unsent: Uint8Array[] = [];

  static async connect(address: string): Promise<RawPeer> {
    const parsed = parseAddress(address);
    const peer = new RawPeer();
    const socket: SocketHandler<undefined> = {
      binaryType: "uint8array",
      data: (_, bytes) => {
        for (const message of peer.#reader.push(bytes))
          peer.heard.push(message as Record<string, unknown>);
      },
      drain: () => peer.#flush(),
      close: () => {
        peer.closed = true;
      },
      error() {},
    };
    peer.#socket = await (parsed.kind === "unix"
      ? Bun.connect({ unix: parsed.path, socket })
      : Bun.connect({ hostname: parsed.host, port: parsed.port, socket }));
    return peer;
  }

  get localPort(): number {
    return this.#socket.localPort;
  }

  send(...messages: unknown[]): void {
    for (const message of messages) this.write(encodeFrame(message));
  }

  write(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#flush();
  }

  /** The first message of this kind that came. */
  find(t: string): Record<string, unknown> | undefined {
    return this.heard.find((message) => message["t"] === t);
  }

  #flush(): void {
    for (let first = this.#unsent[0]; first; first = this.#unsent[0]) {
      const written = Math.max(0, this.#socket.write(first));
      if (written < first.length) return void (this.#unsent[0] = first.subarray(written));
      this.#unsent.shift();
    }
  }

  /** As a process that is killed. */
  die(): void {
    this.#socket.terminate();
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}
