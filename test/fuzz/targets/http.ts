import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { HttpError, checked } from "../../../src/manager/http/operation.ts";
import { MAX_BODY_BYTES, readBody, readTarget } from "../../../src/manager/http/request.ts";
import { find } from "../../../src/manager/http/router.ts";
import { Nothing } from "../../../src/manager/http/schemas.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, textOf } from "./outcome.ts";

/** A line for method and URL, lines for headers, an empty one, and the body: what Node's parser has left to read of a request. */
const requests = [
  "GET /v1/nodes\nHost: localhost\n\n",
  "GET http://h:1/v1/bill?user=ada&since=7d\nHost: other\n\n",
  "GET https://h?x\nHost: h\n\n",
  "HEAD /v1/nodes\nHost: h\n\n",
  "HEAD /v1/health\nHost: [::1]:80\n\n",
  'POST /v1/nodes\nHost: h\nContent-Type: application/json; charset="utf-8"\n\n{"name":"n","address":"h:1"}',
  "POST /v1/nodes/n%41/drain\nHost: h\nContent-Length: 99999999\n\n{}",
  "DELETE /v1/nodes/n\nHost: h\nContent-Encoding: gzip\n\n{}",
  "PUT /v1/nodes/n\nHost: h\n\n{}",
  "GET /a?x=1&x=2\nHost: h\n\n",
  "GET /v1/nodes?%ff\nHost: h\nHost: h\n\n",
  "POST /v1/nodes/%E0/drain\nHost: h\n\n{",
  "POST /v1/nodes\nHost: h\nContent-Type: image/png\n\n",
  "POST /v1/nodes\nHost: h\n\n \n",
  "POST /v1/nodes\nHost: h\nBreaks: 1\n\n{}",
  "POST /v1/nodes\nHost: h\nBreaks: 2\n\n{}",
  "POST /v1/nodes\nHost: h\nBreaks: 3\n\n{}",
  "POST /v1/nodes\nHost: h\nLong: 1\n\nx",
];

function requestOf(text: string): { request: IncomingMessage; method: string } {
  const end = text.indexOf("\n\n");
  const [first = "", ...lines] = (end < 0 ? text : text.slice(0, end)).split("\n");
  const [method = "", url = ""] = first.split(" ");
  const headers: Record<string, string> = {};
  const rawHeaders = lines.flatMap((line) => {
    const at = line.indexOf(":");
    if (at < 1) return [];
    const [name, value] = [line.slice(0, at), line.slice(at + 1).trim()];
    headers[name.toLowerCase()] ??= value;
    return [name, value];
  });
  const body = Buffer.from(end < 0 ? "" : text.slice(end + 2));
  const pieces = headers["long"] ? [Buffer.alloc(MAX_BODY_BYTES), body] : [body];
  const stream = Readable.from(body.length > 0 ? pieces : [], { objectMode: false });
  if (headers["breaks"] === "1") stream.destroy();
  if (headers["breaks"] === "2") queueMicrotask(() => stream.destroy());
  if (headers["breaks"] === "3") queueMicrotask(() => stream.destroy(new Error("cut")));
  stream.on("error", () => {});
  // A stream with what the reader looks at, since a whole message would need a socket.
  const request = Object.assign(stream, { url, headers, rawHeaders, method });
  return { request: request as unknown as IncomingMessage, method };
}

export const subject: Subject = {
  seeds: requests.map(bytesOf),
  tokens: [
    "%2",
    "%41",
    "+",
    "&",
    "=",
    "#",
    "http://",
    "Host: ",
    "\n\n",
    "Content-Length: ",
    "[::1]",
    "HEAD ",
  ],
  maxBytes: 400,
  async run(input) {
    const { request, method } = requestOf(textOf(input));
    const target = outcome(() => readTarget(request), HttpError);
    if (!target) return void request.destroy();
    must(target.path.startsWith("/") && target.host === target.host.toLowerCase(), "is no target");
    const found = outcome(() => find(method, target.path), HttpError);
    const body = await readBody(request).catch((error: unknown) => {
      if (error instanceof HttpError) return undefined;
      throw error;
    });
    if (!found) return;
    const { operation } = found;
    outcome(() => checked(operation.query ?? Nothing, target.query) as unknown, HttpError);
    outcome(() => checked(operation.body ?? Nothing, body) as unknown, HttpError);
  },
};
