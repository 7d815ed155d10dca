/** QEMU's own control channel, a JSON text a line: enough of it to pull a network cable. */
import { type Server, type Socket, createServer } from "node:net";
import { Lines } from "./messages.ts";

interface Reply {
  QMP?: unknown;
  event?: string;
  error?: { class: string; desc: string };
}

export class Qmp {
  readonly #server: Server;
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #socket: Socket | null = null;

  /** Listens at `path` for QEMU to connect. */
  constructor(path: string) {
    this.#server = createServer((socket) => {
      const lines = new Lines();
      this.#socket = socket;
      socket.on("data", (bytes: Buffer) => {
        for (const line of lines.take(bytes)) this.#take(JSON.parse(line) as Reply);
      });
      socket.on("error", () => {});
    }).listen(path);
  }

  /** Resolves when QEMU has done it. */
  execute(command: string, args: Record<string, unknown> = {}): Promise<void> {
    if (this.#socket === null || this.#socket.destroyed)
      return Promise.reject(new Error(`QEMU has ended, and cannot ${command}`));
    const reply = Promise.withResolvers<void>();
    this.#waiting.push(reply);
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    return reply.promise;
  }

  end(reason: Error): void {
    this.#socket?.destroy();
    this.#server.close();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(reason);
  }

  #take(reply: Reply): void {
    if (reply.QMP !== undefined) void this.execute("qmp_capabilities").catch(() => {});
    else if (reply.event === undefined) {
      const waiting = this.#waiting.shift();
      if (reply.error === undefined) waiting?.resolve();
      else waiting?.reject(new Error(`QEMU: ${reply.error.desc}`));
    }
  }
}
