/** A manager's HTTP interface, as commands use it. */
import { type Static, Type } from "@sinclair/typebox";
import {
  NodeUnreachable,
  PeerNotTrusted,
  ProtocolError,
  RfaasError,
  TokenRefused,
  UsageError,
} from "../../base/errors.ts";
import { isLoopback } from "../../control/address.ts";
import { Showing } from "../../control/identity/showing.ts";
import { readAs, text } from "../../options/fields.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { inherited } from "../../options/flags.ts";
import type { FetchTls } from "./manager-trust.ts";

/** How long a manager may take to begin an answer, */
const ANSWER_LIMIT_MS = 5_000;
/** and how long to end it: a bill may be long. */
const WHOLE_LIMIT_MS = 60_000;

/** How the runtime calls certificates whose CA it does not know, or that are for another name. */
const UNKNOWN_CA = /CERT|SELF_SIGNED|ISSUER/;

/** The options of every command that asks a manager. */
export const managerFields = {
  http: Type.Optional(
    readAs(urlsOf, {
      description: "the manager's HTTP interface, or those of several with commas between",
      variable: "RFAAS_HTTP",
      placeholder: "url",
    }),
  ),
  token: Type.Optional(
    text("a token", {
      description: "what it is asked with",
      variable: "RFAAS_TOKEN",
      placeholder: "token",
    }),
  ),
};
const ManagerOptions = Type.Object(managerFields);

/** Where the options, or else the environment, say that the manager is; undefined when they do not. */
export function managerAt({
  http = inherited(ManagerOptions, "http"),
  token = inherited(ManagerOptions, "token"),
}: Static<typeof ManagerOptions>): ManagerClient | undefined {
  return http === undefined ? undefined : new ManagerClient(http, token);
}

/** Of one manager, or of several with commas between. */
export function urlsOf(text: string, what: string): URL[] {
  return text.split(",").map((one) => urlOf(one, what));
}

/** The scheme may be left out: it is `https://`, and `http://` on this machine. */
function urlOf(text: string, what: string): URL {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const whole = hasScheme ? text : `http://${text}`;
  if (!/^https?:/i.test(whole) || !URL.canParse(whole))
    throw new UsageError(
      `${what} must be a URL such as https://10.0.0.1:7801; it is ${JSON.stringify(text)}`,
    );
  const url = new URL(whole);
  return hasScheme || isHere(url) ? url : new URL(`https://${text}`);
}

const isHere = ({ hostname }: URL): boolean => isLoopback(hostname.replace(/^\[|\]$/g, ""));

interface Counterpart {
  url: URL;
  tls?: FetchTls;
  /** With a token that wants a proof. */
  showing?: Showing;
}

export class ManagerClient {
  readonly #urls: readonly URL[];
  /** The one that is asked. */
  #url: URL;
  readonly #credential: Credential | undefined;

  /** Of one manager, or of several, of which one leads. Throws {@link TokenRefused} where the token is none that can be shown. */
  constructor(urls: URL | readonly URL[], token?: string) {
    this.#urls = [urls].flat();
    this.#url = this.#urls[0]!;
    this.#credential = Credential.of(token);
  }

  /**
   * The text of the answer.
   *
   * @throws {NodeUnreachable} when the manager does not answer, {@link TokenRefused}, {@link UsageError} for a wrong request, and
   * {@link ProtocolError} for any other unexpected answer.
   */
  async ask(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<string> {
    const others = this.#urls.filter((url) => url !== this.#url);
    for (const other of others)
      try {
        return await this.#askOne(method, path, body);
      } catch (error) {
        // What may have been done is not asked for again elsewhere: only who does not answer, or stands by, has done nothing.
        if (!(error instanceof NodeUnreachable || error instanceof StandsBy)) throw error;
        this.#url = other;
      }
    return await this.#askOne(method, path, body);
  }

  async #askOne(method: string, path: string, body: unknown): Promise<string> {
    const { status, text } = await this.#exchange(method, path, body);
    if (status < 300) return text;
    const { message, code } = errorIn(text);
    if (message === undefined)
      throw new ProtocolError(
        `${this.#url.origin} answered ${status} and no reason; is it the --http address of an rfaas manager?`,
      );
    if (status === 401 || status === 403) throw new TokenRefused("refused", message);
    if (status < 500) throw new UsageError(message);
    if (code === "RFAAS_NOT_LEADER") throw new StandsBy(message);
    throw new ProtocolError(`the manager cannot answer: ${message}`);
  }

  #requirePrivacy(): void {
    if (!this.#credential || this.#credential.isBound) return;
    if (this.#url.protocol === "https:" || isHere(this.#url)) return;
    throw new UsageError(
      `the token was not sent: ${this.#url.origin} is in clear, and others may read it on the way; give --http https://${this.#url.host}`,
    );
  }

  /** Who is asked, and how to ask it. */
  async #meet(signal: AbortSignal): Promise<Counterpart> {
    const url = this.#url;
    const isBound = this.#credential?.isBound ?? false;
    if (url.protocol !== "https:" && !isBound) return { url };
    const { endOf, pinOfUrl, settled, trustAt, whoAnswers } = await import("./manager-trust.ts");
    const pin = url.protocol === "https:" ? pinOfUrl(url) : undefined;
    if (!pin && !isBound) return { url };
    const answering = await whoAnswers(url, signal);
    return {
      url: settled(url, answering),
      ...(pin ? { tls: trustAt(url, pin, answering) } : {}),
      ...(isBound
        ? { showing: new Showing(this.#credential, endOf(url, answering), undefined) }
        : {}),
    };
  }

  /** Asks, and once more with a proof where one is wanted. */
  async #fetch(
    { url, tls, showing }: Counterpart,
    method: string,
    path: string,
    more: RequestInit,
  ): Promise<Response> {
    const { token } = this.#credential ?? {};
    const target = new URL(path, url);
    const ask = async (headers: Record<string, string>): Promise<Response> =>
      await fetch(target, {
        ...more,
        ...(tls ? { tls } : {}),
        method,
        headers: {
          ...(token === undefined
            ? {}
            : { authorization: `${showing ? "Rfaas" : "Bearer"} ${token}` }),
          ...(more.body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        // Redirects are refused: the token is for this manager, not for another server.
        redirect: "manual",
      });
    const response = await ask({});
    const wanted = response.status === 401 ? response.headers.get("www-authenticate") : null;
    const nonce = /^Rfaas nonce="([\w-]+)"$/.exec(wanted ?? "")?.[1];
    if (!showing || nonce === undefined) return response;
    await response.arrayBuffer();
    const request = `${method} ${target.href.slice(target.origin.length)}`;
    return await ask({ "rfaas-nonce": nonce, "rfaas-proof": await showing.proof(nonce, request) });
  }

  async #exchange(
    method: string,
    path: string,
    body: unknown,
  ): Promise<{ status: number; text: string }> {
    const { origin } = this.#url;
    this.#requirePrivacy();
    const limit = new AbortController();
    const hung = new Error(`it has not answered within ${ANSWER_LIMIT_MS / 1000} s`);
    let timer = setTimeout(() => limit.abort(hung), ANSWER_LIMIT_MS);
    try {
      const counterpart = await this.#meet(limit.signal);
      const response = await this.#fetch(counterpart, method, path, {
        signal: limit.signal,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      clearTimeout(timer);
      timer = setTimeout(() => limit.abort(new Error("its answer does not end")), WHOLE_LIMIT_MS);
      return { status: response.status, text: await response.text() };
    } catch (error) {
      if (limit.signal.aborted)
        throw new NodeUnreachable(
          origin,
          `the manager at ${origin} hangs: ${(limit.signal.reason as Error).message}; see its log, and whether it runs`,
          { cause: error },
        );
      if (error instanceof RfaasError) throw error;
      if (UNKNOWN_CA.test(String((error as { code?: unknown }).code)))
        throw new PeerNotTrusted(
          `the certificate at ${origin} is of no CA that this machine knows (${(error as Error).message}); pin the manager's, as its log has it: --http '${origin}?ca=sha256:..' or RFAAS_CA`,
          { address: origin, seen: undefined },
          { cause: error },
        );
      throw new NodeUnreachable(
        origin,
        `no manager answers at ${origin}: ${(error as Error).message}; start it with rfaas manager --http HOST:PORT, or correct --http`,
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The manager leaves it to another one. */
class StandsBy extends ProtocolError {}

function errorIn(text: string): { message?: string; code?: unknown } {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown; code?: unknown } };
    return typeof error?.message === "string" ? { message: error.message, code: error.code } : {};
  } catch {
    return {};
  }
}
