/**
 * The manager's HTTP interface: finds the operation, asks who is calling, reads the body within bounds, and answers in JSON.
 *
 * A manager without a key asks for no tokens. Anybody may look at it then, and only programs on its own machine may change things.
 */
import { type Server, serve } from "bun";
import { formatAddress, parseAddress } from "../address.ts";
import { AddressInUse, EnvironmentError, RfaasError, UsageError } from "../errors.ts";
import type { Scope } from "../protocol/token.ts";
import {
  type Answer,
  HttpError,
  type Manager,
  OPERATIONS,
  type Operation,
  toJson,
} from "./http-routes.ts";
import type { TokenCheck } from "./keys.ts";
import { openApi } from "./openapi.ts";
import { DEFAULT_PRICES, type Prices } from "./prices.ts";

/** Longer than any body that is right. */
export const MAX_BODY_BYTES = 64 * 1024;
/** A peer that says nothing for so long is disconnected. */
const IDLE_SECONDS = 10;

export interface HttpOptions extends Omit<Manager, "prices"> {
  /** HOST:PORT; port 0 takes any. */
  listen: string;
  tokens: TokenCheck;
  prices?: Prices | undefined;
  log(level: "info" | "warn", message: string): void;
}

export interface HttpServer {
  /** `http://HOST:PORT`. */
  readonly url: string;
  /** Accepts no more, and resolves when the requests under way are answered. */
  stop(): Promise<void>;
}

/** Serves the interface. Throws {@link UsageError}, {@link AddressInUse} or {@link EnvironmentError}. */
export function startHttp({ listen, tokens, log, prices, ...manager }: HttpOptions): HttpServer {
  const api = new Api({ ...manager, prices: prices ?? DEFAULT_PRICES }, tokens, log);
  const server = listenAt(listen, async (request, peer) => await api.answer(request, peer));
  const { hostname = "127.0.0.1", port = 0 } = server;
  return {
    url: `http://${formatAddress({ kind: "tcp", host: hostname, port })}`,
    stop: async () => await server.stop(),
  };
}

type Handler = (request: Request, peer: string | undefined) => Promise<Response>;

function listenAt(listen: string, answer: Handler): Server<undefined> {
  const address = parseAddress(listen);
  if (address.kind !== "tcp")
    throw new UsageError(`--http must be HOST:PORT, such as 127.0.0.1:7800; it is "${listen}"`);
  try {
    return serve({
      hostname: address.host,
      port: address.port,
      idleTimeout: IDLE_SECONDS,
      fetch: async (request, server) => await answer(request, server.requestIP(request)?.address),
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE")
      throw new AddressInUse(
        `${listen} is taken by another program; choose another address with --http`,
        { cause: error },
      );
    throw new EnvironmentError(
      `cannot listen on ${listen}: ${message}; choose another address with --http`,
      { cause: error },
    );
  }
}

class Api {
  readonly #manager: Manager;
  readonly #tokens: TokenCheck;
  readonly #log: HttpOptions["log"];
  readonly #openApi = toJson(openApi());

  constructor(manager: Manager, tokens: TokenCheck, log: HttpOptions["log"]) {
    this.#manager = manager;
    this.#tokens = tokens;
    this.#log = log;
  }

  /** Never rejects. */
  async answer(request: Request, peer: string | undefined): Promise<Response> {
    try {
      return toResponse(await this.#handle(request, peer));
    } catch (error) {
      return toResponse(this.#failed(error, request));
    }
  }

  async #handle(request: Request, peer: string | undefined): Promise<Answer | string> {
    const url = new URL(request.url);
    if (url.pathname === "/openapi.json") {
      allow(request, ["GET", "HEAD"]);
      return this.#openApi;
    }
    const { operation, name } = find(request, url.pathname);
    this.#admit(request, peer, operation);
    const body = operation.method === "GET" ? {} : await readBody(request);
    return operation.run(this.#manager, { name, query: queryOf(url), body });
  }

  #admit(request: Request, peer: string | undefined, { scope, method }: Operation): void {
    if (scope === null) return;
    if (this.#tokens.publicKey === null && method !== "GET") admitNeighbour(request, peer);
    const verdict = this.#tokens.check(bearer(request), scope);
    if (!("refused" in verdict)) return;
    throw verdict.forbidden
      ? new HttpError(403, "RFAAS_TOKEN", verdict.refused)
      : new HttpError(401, "RFAAS_TOKEN", verdict.refused, { headers: challenge(scope) });
  }

  #failed(error: unknown, request: Request): Answer {
    if (error instanceof HttpError) {
      const { status, code, message, path, headers } = error;
      return { status, headers, body: { error: { code, message, ...(path ? { path } : {}) } } };
    }
    const { pathname } = new URL(request.url);
    this.#log("warn", `${request.method} ${pathname} failed: ${String(error)}`);
    if (error instanceof RfaasError) {
      const { code, message } = error;
      return { status: 503, body: { error: { code, message } } };
    }
    const message = "the manager failed at this request; see its log";
    return { status: 500, body: { error: { code: "RFAAS_INTERNAL", message } } };
  }
}

interface Found {
  operation: Operation;
  /** Of the node in the path; empty where there is none. */
  name: string;
}

const ROUTES = OPERATIONS.map((operation) => ({
  operation,
  pattern: new RegExp(`^${operation.path.replace("{name}", "([^/]+)")}$`),
}));

function find(request: Request, pathname: string): Found {
  const here = ROUTES.flatMap(({ operation, pattern }) => {
    const match = pattern.exec(pathname);
    return match ? [{ operation, name: match[1] ?? "" }] : [];
  });
  if (here.length === 0)
    throw new HttpError(404, "RFAAS_NOT_FOUND", "there is nothing here; see /openapi.json");
  const methods = here.map(({ operation }) => operation.method as string);
  allow(request, methods.includes("GET") ? [...methods, "HEAD"] : methods);
  const method = request.method === "HEAD" ? "GET" : request.method;
  const found = here.find(({ operation }) => operation.method === method)!;
  return { operation: found.operation, name: decoded(found.name) };
}

function allow(request: Request, methods: readonly string[]): void {
  if (methods.includes(request.method)) return;
  throw new HttpError(
    405,
    "RFAAS_METHOD",
    `${request.method} is not for this path; use ${methods.join(" or ")}`,
    { headers: { allow: methods.join(", ") } },
  );
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw new HttpError(400, "RFAAS_USAGE", "the path is not encoded as UTF-8; correct it", {
      path: "/name",
    });
  }
}

function queryOf(url: URL): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of url.searchParams) {
    if (Object.hasOwn(query, name))
      throw new HttpError(400, "RFAAS_USAGE", `${name} is given twice; give it once`, {
        path: `/${name}`,
      });
    query[name] = value;
  }
  return query;
}

/** A page of another site in a browser on this machine is no program of this machine; browsers say where it came from. */
function admitNeighbour(request: Request, peer: string | undefined): void {
  if (peer !== undefined && isLoopback(peer) && !request.headers.has("origin")) return;
  throw new HttpError(
    403,
    "RFAAS_TOKEN",
    "this manager has no key, so that only programs on its own machine may change things; make one with rfaas token create, restart it, and show a token",
  );
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address);
}

function bearer(request: Request): string | null {
  const header = request.headers.get("authorization");
  return /^bearer +(\S+) *$/i.exec(header ?? "")?.[1] ?? null;
}

function challenge(scope: Scope): Record<string, string> {
  return { "www-authenticate": `Bearer realm="rfaas", scope="${scope}"` };
}

/** The JSON of the body; an empty body is an empty object. */
async function readBody(request: Request): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(request));
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new HttpError(
      400,
      "RFAAS_USAGE",
      `the body is not JSON: ${(error as Error).message}; send an object`,
      { path: "/" },
    );
  }
}

async function readBytes(request: Request): Promise<Uint8Array> {
  // A length that is said spares reading; one that is not, or is a lie, is found while reading.
  if (Number(request.headers.get("content-length") ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): HttpError {
  return new HttpError(
    413,
    "RFAAS_TOO_LARGE",
    `the body is longer than ${MAX_BODY_BYTES} bytes; send less`,
    // What is left of the body must not be taken for the next request.
    { headers: { connection: "close" } },
  );
}

function toResponse(answer: Answer | string): Response {
  const { status, body, headers } =
    typeof answer === "string"
      ? { status: 200, body: answer, headers: undefined }
      : { ...answer, body: answer.body === undefined ? null : toJson(answer.body) };
  return new Response(body, {
    status,
    headers: {
      ...(body === null ? {} : { "content-type": "application/json" }),
      "cache-control": "no-store",
      ...headers,
    },
  });
}
