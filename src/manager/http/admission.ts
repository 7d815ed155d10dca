/**
 * Who may ask the manager for what, over HTTP.
 *
 * A manager without a key asks for no tokens. Every program may then read from it; only programs of its own user, or of root, that
 * connect over loopback and call it by a name of loopback may change anything. The manager refuses changes by a proxy on its machine,
 * which acts for other users and says so in a header, and by a page in a browser, for which the browser says so.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { hostname } from "node:os";
import { isLoopback } from "../../control/address.ts";
import { isOwnUserAt } from "../../control/local-peer.ts";
import { isBound } from "../../protocol/holder/credential.ts";
import type { Scope } from "../../protocol/token.ts";
import { HttpError, type Operation } from "./operation.ts";
import type { RequestProofs } from "./proofs.ts";
import type { Admitted, TokenCheck } from "../tokens/keys.ts";

/** What decides. */
export interface Admission {
  tokens: TokenCheck;
  proofs: RequestProofs;
}

/** Throws {@link HttpError} unless the request may do what it asks for. */
export async function admit(
  request: IncomingMessage,
  host: string,
  { tokens, proofs }: Admission,
  { scope, method }: Pick<Operation, "scope" | "method">,
): Promise<Admitted | undefined> {
  if (scope === null) return undefined;
  const token = shown(request);
  if (token !== null && isOverheard(request.socket) && !isBound(token))
    throw new HttpError(
      401,
      "RFAAS_TOKEN",
      "a token came in clear from another machine, where others may have read it; make another one, and show it over HTTPS",
    );
  if (tokens.publicKey === null && method !== "GET") admitNeighbour(request, host);
  const verdict = await tokens.check(token, scope, proofs.of(request));
  if (!("refused" in verdict)) return verdict;
  throw verdict.forbidden
    ? new HttpError(403, "RFAAS_TOKEN", verdict.refused)
    : new HttpError(401, "RFAAS_TOKEN", verdict.refused, { headers: challenge(scope) });
}

function admitNeighbour(request: IncomingMessage, host: string): void {
  const isNeighbour =
    isLocalName(host) &&
    // Programs speak HTTP/1.1; nginx asks the servers behind it in 1.0, without a header of its own.
    request.httpVersion !== "1.0" &&
    !Object.keys(request.headers).some((name) => isOfProxy(name) || isOfPage(name)) &&
    isOfOwnUser(request.socket);
  if (isNeighbour) return;
  throw new HttpError(
    403,
    "RFAAS_TOKEN",
    "this manager has no key, so that only programs on its own machine and of its own user may change things, over loopback and through no proxy; make one with rfaas token create, and show a token",
  );
}

function isOfOwnUser({ remoteAddress, remotePort, localAddress, localPort }: Socket): boolean {
  // The kernel knows nothing of a connection that has ended meanwhile.
  if (!remoteAddress || !remotePort || !localAddress || !localPort) return false;
  return isOwnUserAt(
    { address: remoteAddress, port: remotePort },
    { address: localAddress, port: localPort },
  );
}

function isOverheard(socket: Socket & { encrypted?: boolean }): boolean {
  return !socket.encrypted && !isLoopback(socket.remoteAddress ?? "");
}

/** Any other name may be a stranger's, who has it resolve to this machine (DNS rebinding). */
function isLocalName(host: string): boolean {
  return (
    host === "localhost" ||
    host === hostname().toLowerCase() ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host) ||
    /^\[::(?:1|ffff:127\.\d{1,3}\.\d{1,3}\.\d{1,3})\]$/.test(host)
  );
}

/** X-Forwarded-For, Forwarded, Via, X-Real-IP, True-Client-IP, X-Original-URL and their like. */
function isOfProxy(header: string): boolean {
  if (header === "host") return false;
  return /forward|proxy|(?:^|-)(?:via|ip|host|remote|original|envoy|amzn|cf)(?:-|$)/.test(header);
}

function isOfPage(header: string): boolean {
  return header === "origin" || header === "referer" || header === "sec-fetch-site";
}

/** The token of a bearer, or one that comes with a proof. */
function shown({ headers }: IncomingMessage): string | null {
  return /^(?:bearer|rfaas) +(\S+) *$/i.exec(headers.authorization ?? "")?.[1] ?? null;
}

function challenge(scope: Scope): Record<string, string> {
  return { "www-authenticate": `Bearer realm="rfaas", scope="${scope}"` };
}
