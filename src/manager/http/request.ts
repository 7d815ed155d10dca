/** Reads an HTTP request; refuses one that it cannot read with an error of the interface. */
import type { IncomingMessage } from "node:http";
import { HttpError } from "./operation.ts";

/** Longer than any body that is right. */
export const MAX_BODY_BYTES = 64 * 1024;

export interface Target {
  /** As it was sent, with its escapes. */
  path: string;
  query: Record<string, string>;
  /** The name or address that the manager was called by, in lower case, without a port. */
  host: string;
}

/** Throws {@link HttpError}. */
export function readTarget(request: IncomingMessage): Target {
  const named = hostOf(request);
  const url = request.url ?? "";
  // A proxy is asked for a whole URL, and RFC 9112 has every server take one.
  const whole = /^https?:\/\/([^/?]*)(.*)$/is.exec(url);
  const [, authority, rest = ""] = whole ?? [];
  const host = authority === undefined ? named : hostName(authority);
  const local = whole ? (rest.startsWith("/") ? rest : `/${rest}`) : url;
  if (host === undefined || !/^\/[\x21-\x7e]*$/.test(local) || local.includes("#"))
    throw new HttpError(
      400,
      "RFAAS_USAGE",
      "the URL is malformed; ask for a path of /openapi.json",
    );
  const at = local.indexOf("?");
  return at < 0
    ? { path: local, query: {}, host }
    : { path: local.slice(0, at), query: queryOf(local.slice(at + 1)), host };
}

/** Text of a URL without its escapes. Throws {@link HttpError}; `field` is what it is called. */
export function decoded(text: string, field: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HttpError(400, "RFAAS_USAGE", "the URL is not encoded as UTF-8; correct it", {
      path: `/${field}`,
    });
  }
}

/** The JSON of the body; an empty body is an empty object. Throws {@link HttpError}. */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  requireJson(request);
  const bytes = await readBytes(request);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.trim() === "" ? {} : (JSON.parse(text) as unknown);
  } catch (error) {
    throw new HttpError(
      400,
      "RFAAS_USAGE",
      `the body is not JSON: ${(error as Error).message}; send an object`,
      { path: "/" },
    );
  }
}

function hostOf(request: IncomingMessage): string {
  const given = request.rawHeaders.filter(
    (_, i) => i % 2 === 1 && request.rawHeaders[i - 1]!.toLowerCase() === "host",
  );
  const host = given.length === 1 ? hostName(given[0]!) : undefined;
  if (host !== undefined) return host;
  throw new HttpError(
    400,
    "RFAAS_USAGE",
    "the request does not say once, in a header Host, which host it is for; send one, such as Host: localhost",
  );
}

/** Undefined for a text that is no host with or without a port. */
function hostName(authority: string): string | undefined {
  const host = /^(\[[\da-f:.]+\]|[\w.-]+)(?::\d*)?$/i.exec(authority)?.[1];
  return host !== undefined && URL.canParse(`http://${authority}`) ? host.toLowerCase() : undefined;
}

function queryOf(text: string): Record<string, string> {
  const query: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const [rawName = "", ...value] = pair.replaceAll("+", " ").split("=");
    const name = decoded(rawName, "query");
    if (name in query)
      throw new HttpError(400, "RFAAS_USAGE", `${name} is given twice; give it once`, {
        path: `/${name}`,
      });
    query[name] = decoded(value.join("="), name);
  }
  return { ...query };
}

/** Whether to read the body as JSON: also without a content type, or with the one that curl and fetch give a string by default. */
const TAKEN_FOR_JSON =
  /^(?:application\/(?:[\w.-]+\+)?json|text\/plain|application\/x-www-form-urlencoded)$/;

function requireJson({ headers }: IncomingMessage): void {
  const [type = "", ...parameters] = (headers["content-type"] ?? "application/json")
    .toLowerCase()
    .split(";")
    .map((part) => part.trim());
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  const isPlain = /^(?:identity)?$/i.test(headers["content-encoding"] ?? "");
  if (TAKEN_FOR_JSON.test(type) && isUtf8 && isPlain) return;
  throw new HttpError(
    415,
    "RFAAS_USAGE",
    "the body must be JSON in UTF-8, not compressed; send Content-Type: application/json",
    // The body is not read.
    { headers: { connection: "close" } },
  );
}

async function readBytes(request: IncomingMessage): Promise<Uint8Array> {
  // A declared length spares reading; a missing or wrong one shows while reading.
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  request.on("data", (chunk: Uint8Array) => {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return reject(tooLarge());
    chunks.push(chunk);
  });
  request.on("end", resolve);
  const broken = new HttpError(
    400,
    "RFAAS_USAGE",
    "the body did not come to its end; send it again",
    {
      path: "/",
    },
  );
  request.on("error", () => reject(broken));
  request.on("close", () => reject(broken));
  if (request.destroyed) reject(broken);
  await promise;
  return Buffer.concat(chunks);
}

function tooLarge(): HttpError {
  return new HttpError(
    413,
    "RFAAS_TOO_LARGE",
    `the body is longer than ${MAX_BODY_BYTES} bytes; send less`,
    // The server must not take the rest of the body for the next request.
    { headers: { connection: "close" } },
  );
}
