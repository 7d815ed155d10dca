/**
 * HTTPS: takes in TLS connections, and hands each to the HTTP server once its handshake is over. `node:https` could not: the runtime's
 * keeps the certificate that it began with, and here each connection gets the one that counts when it comes. The HTTP server measures
 * time only for connections that it has accepted itself, so this does.
 */
import type { Server as HttpServer } from "node:http";
import { type Server, type Socket, createServer } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";

/** How long a handshake may take. */
const HANDSHAKE_MS = 5_000;

export interface TlsFrontOptions {
  http: HttpServer;
  /** What a connection that comes now is met with. */
  secureContext(): SecureContext;
  /** The most connections whose handshake goes on; the oldest goes for another. */
  maxHandshakes: number;
  /** How long a connection may have no request under way: none has come whole, up to its body. */
  idleMs: number;
  /** How long the body of a request may take to come, and what the client hears then. */
  slowMs: number;
  slowAnswer: string;
}

/** Listens when it is told to; its connections are those of `http`. */
export function tlsFront(options: TlsFrontOptions): Server {
  const { http, secureContext, maxHandshakes, idleMs, slowMs, slowAnswer } = options;
  const shaking = new Set<Socket>();
  const limits = new WeakMap<Socket, Limit>();
  http.on("request", (request, response) => {
    const { socket } = request;
    const limit = limits.get(socket);
    limit?.set(slowMs, () => socket.end(slowAnswer));
    request.on("end", () => limit?.clear());
    response.on("close", () => limit?.set(idleMs, () => socket.destroy()));
  });
  return createServer((socket) => {
    if (shaking.size >= maxHandshakes) first(shaking)?.destroy();
    shaking.add(socket);
    const limit = new Limit();
    limit.set(HANDSHAKE_MS, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      limit.end();
      shaking.delete(socket);
    });
    const tls = new TLSSocket(socket, {
      isServer: true,
      secureContext: secureContext(),
      minVersion: "TLSv1.3",
    });
    tls.on("error", () => socket.destroy());
    tls.on("secure", () => {
      shaking.delete(socket);
      limit.set(idleMs, () => socket.destroy());
      limits.set(tls, limit);
      http.emit("connection", tls);
    });
  });
}

/** The time within which the next thing must happen on a connection. */
class Limit {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  set(ms: number, late: () => void): void {
    this.clear();
    if (!this.#over) this.#timer = setTimeout(late, ms);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.#over = true;
    this.clear();
  }
}

function first<T>(all: Iterable<T>): T | undefined {
  for (const one of all) return one;
  return undefined;
}
