/** The manager's HTTP interface: finds the operation, asks who is calling, reads the body within bounds, and answers in JSON. */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Server as NetServer, Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { portInUse, whyNotListening } from "../../control/port-holder.ts";
import { formatAddress, parseAddress } from "../../control/address.ts";
import { AddressInUse, EnvironmentError, RfaasError, UsageError } from "../../base/errors.ts";
import { type Admission, admit } from "./admission.ts";
import { toJson } from "../ledger/bill.ts";
import { DEFAULT_PRICES, type Prices } from "../ledger/prices.ts";
import type { TokenCheck } from "../tokens/keys.ts";
import type { KnownEnd } from "../tokens/known-end.ts";
import { openApi } from "./openapi.ts";
import { type Answer, HttpError, type Manager } from "./operation.ts";
import { readBody, readTarget } from "./request.ts";
import { RequestProofs } from "./proofs.ts";
import { allow, find } from "./router.ts";

export { MAX_BODY_BYTES } from "./request.ts";

/** Descriptors are for nodes and the ledger too: beyond it a new connection takes the place of an idle one. */
export const MAX_CONNECTIONS = 256;
/** Keep-alive timeout: how long a connection without a request under way may be silent. */
const IDLE_MS = 5_000;
/** How long a request may take to come, and an answer to be taken. */
const SLOW_MS = 10_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** How the runtime calls a request that does not come in time. */
const LATE = "ERR_HTTP_REQUEST_TIMEOUT";

export interface HttpOptions extends Omit<Manager, "prices"> {
  /** HOST:PORT; port 0 takes any. */
  listen: string;
  tokens: TokenCheck;
  prices?: Prices | undefined;
  /** HTTPS with what this says for each connection; left out, HTTP. */
  secureContext?: (() => SecureContext) | undefined;
  /** How proofs name this end of HTTPS. */
  known?: KnownEnd | undefined;
  log(level: "info" | "warn", message: string): void;
}

export interface HttpServer {
  /** `http://HOST:PORT`, or `https://HOST:PORT`. */
  readonly url: string;
  /** Accepts no more, and resolves when the requests under way are answered. */
  stop(): Promise<void>;
}

/** Serves the interface. Rejects with {@link UsageError}, {@link AddressInUse} or {@link EnvironmentError}. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { listen, tokens, log, prices, secureContext, known, ...manager } = options;
  const by = { tokens, proofs: new RequestProofs(known) };
  const api = new Api({ ...manager, prices: prices ?? DEFAULT_PRICES }, by, log);
  const server = createServer({
    headersTimeout: IDLE_MS,
    requestTimeout: SLOW_MS,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: MAX_HEADER_BYTES,
    // This server checks the Host header itself, to answer with an error of the interface.
    requireHostHeader: false,
  });
  server.setTimeout(SLOW_MS);
  const front: NetServer = secureContext
    ? (await import("./tls-front.ts")).tlsFront({
        ...{ http: server, secureContext, maxHandshakes: MAX_CONNECTIONS },
        ...{ idleMs: IDLE_MS, slowMs: SLOW_MS, slowAnswer: unreadable(LATE) },
      })
    : server;
  const connections = new Connections(server, front);
  server.on("request", (request, response) => void api.answer(request, response));
  server.on("checkExpectation", (_, response: ServerResponse) =>
    send(response, errorAnswer(417, "RFAAS_USAGE", "nothing is expected here; send no Expect")),
  );
  server.on("connect", (_, socket: Socket) =>
    socket.end(rawAnswer(405, "RFAAS_METHOD", "this is no proxy; see /openapi.json")),
  );
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (socket.writable) socket.end(unreadable(error.code));
    else socket.destroy();
  });
  await listenAt(front, listen);
  const { address, port } = front.address() as AddressInfo;
  return {
    url: `${secureContext ? "https" : "http"}://${formatAddress({ kind: "tcp", host: address, port })}`,
    stop: async () => await connections.stop(),
  };
}

async function listenAt(server: NetServer, listen: string): Promise<void> {
  const address = parseAddress(listen);
  if (address.kind !== "tcp")
    throw new UsageError(`--http must be HOST:PORT, such as 127.0.0.1:7800; it is "${listen}"`);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(address.port, address.host, resolve);
  try {
    await promise;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE")
      throw new AddressInUse(portInUse(listen, address.port, "--http"), { cause: error });
    throw new EnvironmentError(
      `cannot listen on ${listen}: ${whyNotListening(error, address.host)}; choose another --http`,
      { cause: error },
    );
  }
}

/** Those that are open, with how many requests of each are under way, the last used last. */
class Connections {
  readonly #front: NetServer;
  readonly #open = new Map<Socket, number>();
  #stopping = false;

  /** Those of `server`, which come by `front`. */
  constructor(server: Server, front: NetServer) {
    this.#front = front;
    server.on("connection", (socket: Socket) => {
      if (this.#open.size >= MAX_CONNECTIONS && !this.#makeRoom()) return void socket.destroy();
      this.#open.set(socket, 0);
      socket.on("close", () => this.#open.delete(socket));
      socket.on("error", () => socket.destroy());
    });
    server.on("request", ({ socket }, response) => {
      this.#count(socket, 1);
      response.on("close", () => this.#count(socket, -1));
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#front.close(() => resolve());
    for (const [socket, requests] of this.#open) if (requests === 0) socket.destroy();
    await promise;
  }

  #count(socket: Socket, change: 1 | -1): void {
    const requests = this.#open.get(socket);
    if (requests === undefined) return;
    this.#open.delete(socket);
    this.#open.set(socket, requests + change);
    if (this.#stopping && requests + change === 0) socket.destroySoon();
  }

  #makeRoom(): boolean {
    for (const [socket, requests] of this.#open) {
      if (requests > 0) continue;
      this.#open.delete(socket);
      socket.destroy();
      return true;
    }
    return false;
  }
}

class Api {
  readonly #manager: Manager;
  readonly #by: Admission;
  readonly #log: HttpOptions["log"];
  readonly #openApi = toJson(openApi());

  constructor(manager: Manager, by: Admission, log: HttpOptions["log"]) {
    this.#manager = manager;
    this.#by = by;
    this.#log = log;
  }

  /** Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      send(response, await this.#handle(request));
    } catch (error) {
      send(response, this.#failed(error, request));
    }
    // The rest of a body that was not read.
    request.resume();
  }

  async #handle(request: IncomingMessage): Promise<Answer | string> {
    const { path, query, host } = readTarget(request);
    const { method = "" } = request;
    if (path === "/openapi.json") {
      allow(method, ["GET", "HEAD"]);
      return this.#openApi;
    }
    const { operation, name } = find(method, path);
    const standsBy = this.#manager.role?.().standsBy;
    // Whether it lives is asked of any.
    if (standsBy !== undefined && operation.scope !== null)
      throw new HttpError(503, "RFAAS_NOT_LEADER", standsBy);
    const viewer = await admit(request, host, this.#by, operation);
    const body = operation.method === "GET" ? {} : await readBody(request);
    const answer = await operation.run(this.#manager, { name, query, body, viewer });
    if (operation.method !== "GET") await this.#manager.settle?.();
    return answer;
  }

  #failed(error: unknown, request: IncomingMessage): Answer {
    if (error instanceof HttpError) {
      const { status, code, message, path, headers } = error;
      return { status, headers, body: { error: { code, message, ...(path ? { path } : {}) } } };
    }
    this.#log("warn", `${request.method} ${pathOf(request)} failed: ${String(error)}`);
    if (error instanceof RfaasError) return errorAnswer(503, String(error.code), error.message);
    const message = "the manager failed at this request; see its log";
    return errorAnswer(500, "RFAAS_INTERNAL", message);
  }
}

/** For the log: a query may be a secret that stands in the wrong place. */
function pathOf({ url = "" }: IncomingMessage): string {
  return url.split("?")[0]!.slice(0, 128);
}

function errorAnswer(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}

function send(response: ServerResponse, answer: Answer | string): void {
  if (response.headersSent || response.destroyed) return;
  const { status, body, headers } =
    typeof answer === "string"
      ? { status: 200, body: answer, headers: undefined }
      : { ...answer, body: answer.body === undefined ? undefined : toJson(answer.body) };
  response.writeHead(status, {
    ...(body === undefined
      ? {}
      : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
    "cache-control": "no-store",
    ...headers,
  });
  response.end(body);
}

/** Answers a client that does not speak HTTP, or does not complete its request. */
function unreadable(code: string | undefined): string {
  if (code === "HPE_HEADER_OVERFLOW")
    return rawAnswer(431, "RFAAS_TOO_LARGE", `the header is longer than ${MAX_HEADER_BYTES} bytes`);
  if (code === LATE)
    return rawAnswer(408, "RFAAS_TIMEOUT", `no whole request came within ${SLOW_MS} ms`);
  return rawAnswer(400, "RFAAS_USAGE", "this is no request of HTTP/1.1; see GET /openapi.json");
}

const REASONS: Record<number, string> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

function rawAnswer(status: number, code: string, message: string): string {
  const body = toJson(errorAnswer(status, code, message).body);
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
    "cache-control: no-store",
    "connection: close",
  ];
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}
