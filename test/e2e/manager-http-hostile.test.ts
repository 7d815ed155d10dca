/** What the manager's HTTP interface says to requests that it cannot read, to pages, to proxies, and to those who never end. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import { hostname } from "node:os";
import { Value } from "@sinclair/typebox/value";
import { type HttpServer, MAX_CONNECTIONS, startHttp } from "../../src/manager/http/server.ts";
import type { NodeControl } from "../../src/manager/http/operation.ts";
import { ErrorAnswer } from "../../src/manager/http/schemas.ts";
import { NoTokens, SignedTokens, type TokenCheck } from "../../src/manager/tokens/keys.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Scope } from "../../src/protocol/token.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { NO_LIMITS, NONE_ISSUED, SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const cluster = new SigningCluster();

const leaseOf = (user: string): UsageReport => ({
  ...{ lease: `i/${user}`, node: "n1", user, workers: 1 },
  ...{ startedAtMs: Date.UTC(2026, 0, 1), endedAtMs: null, reason: null },
  usage: { allocationCoreNs: 1e9, executionNs: 1e9, pollingNs: 0, calls: 1, bytes: 1 },
});
const LEASES = [leaseOf("alice"), leaseOf("bob")];

const scratch = new Scratch();
const ledger = Ledger.open(scratch.join("ledger.sqlite"));
ledger.record(LEASES);
const registry = new Registry();
const logged: string[] = [];
/** One without a key, one with. */
let open: HttpServer;
let guarded: HttpServer;

beforeAll(async () => {
  open = await start(new NoTokens());
  guarded = await start(new SignedTokens(cluster.publicKey));
});

afterAll(async () => {
  await Promise.all([open.stop(), guarded.stop()]);
  ledger.close();
  scratch[Symbol.dispose]();
});

function start(tokens: TokenCheck): Promise<HttpServer> {
  const server: NodeControl = {
    ...{
      drain: () => false,
      resume: () => false,
      remove: () => false,
      readmit: () => undefined,
      leases: () => LEASES,
    },
    ledgerOf: () => ({ ledger: "messages", ledgerAdds: 0, usageMessages: 0 }),
  };
  const log = (_: string, message: string): void => void logged.push(message);
  return startHttp({
    listen: "127.0.0.1:0",
    registry,
    ledger,
    tokens,
    server,
    issued: NONE_ISSUED,
    limits: NO_LIMITS,
    log,
  });
}

interface Heard {
  status: number;
  text: string;
  body: unknown;
}

/** Sends bytes as they are; returns the first answer, read to the end that it says. */
async function exchange(url: string, request: string): Promise<Heard> {
  const socket = connectTo(url);
  socket.write(request, "latin1");
  let text = "";
  for await (const bytes of socket) {
    text += (bytes as Buffer).toString("latin1");
    const [head = "", body = ""] = text.split("\r\n\r\n", 2);
    const length = /^content-length: (\d+)$/im.exec(head)?.[1];
    if (text.includes("\r\n\r\n") && body.length >= Number(length ?? Infinity)) break;
  }
  socket.destroy();
  const [head = "", body = ""] = text.split("\r\n\r\n", 2);
  const isJson = /^content-type: application\/json$/im.test(head);
  return { status: Number(head.split(" ")[1]), text, body: isJson ? JSON.parse(body) : undefined };
}

function connectTo(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  return socket;
}

const HOST = "Host: localhost\r\n";
const request = (line: string, headers = HOST, body = ""): string =>
  `${line} HTTP/1.1\r\n${headers}\r\n${body}`;
const post = (headers: string, body: string): string =>
  request("POST /v1/nodes", `${HOST}${headers}Content-Length: ${body.length}\r\n`, body);

const UNREADABLE: [what: string, sent: string, status: number][] = [
  ["no Host", request("GET /v1/nodes", ""), 400],
  ["no Host, HTTP/1.0", "GET /v1/nodes HTTP/1.0\r\n\r\n", 400],
  ["no Host, at an unknown path", "GET /x HTTP/1.0\r\n\r\n", 400],
  ["no Host, at the description", "GET /openapi.json HTTP/1.0\r\n\r\n", 400],
  ["an empty Host", request("GET /v1/nodes", "Host:\r\n"), 400],
  ["a Host with a space", request("GET /v1/nodes", "Host: a b\r\n"), 400],
  ["half an address as Host", request("GET /v1/nodes", "Host: [::\r\n"), 400],
  ["a Host with a port too high", request("GET /v1/nodes", "Host: x:99999\r\n"), 400],
  ["a Host of a percent sign", request("GET /v1/nodes", "Host: %\r\n"), 400],
  ["a Host with a path", request("GET /v1/nodes", "Host: a/b?c#d\r\n"), 400],
  ["a Host with a user", request("GET /v1/nodes", "Host: u:p@localhost\r\n"), 400],
  ["a Host with bytes beyond ASCII", request("GET /v1/nodes", "Host: \xe9\r\n"), 400],
  ["an address that is none as Host", request("GET /v1/nodes", "Host: 1.2.3.256\r\n"), 400],
  ["two Hosts", request("GET /v1/nodes", `${HOST}Host: b\r\n`), 400],
  ["a whole URL of no host", request("GET http:///v1/nodes"), 400],
  ["a whole URL of a bad host", request("GET http://[::/v1/nodes"), 400],
  ["a path with a fragment", request("GET /v1/nodes#x"), 400],
  ["half an escape in the path", request("GET /v1/nodes/%"), 400],
  ["a bad escape in the path", request("GET /v1/nodes/%zz"), 400],
  ["escapes that are no UTF-8", request("GET /v1/nodes/%ff"), 400],
  ["a bad escape in the query", request("GET /v1/bill?user=%zz"), 400],
  ["a bad escape as a parameter's name", request("GET /v1/bill?%zz=1"), 400],
  ["an unknown parameter", request("GET /v1/bill?__proto__=1"), 400],
  ["two slashes", request("GET //v1/nodes"), 404],
  ["a host in the path", request("GET //localhost/v1/nodes"), 404],
  ["dots", request("GET /v1/../v1/nodes"), 404],
  ["a backslash", request("GET /v1\\nodes"), 404],
  ["no path", request("GET v1/nodes"), 400],
  ["an asterisk", request("OPTIONS *"), 400],
  ["bytes beyond ASCII in the path", request("GET /\xe9"), 400],
  ["a null byte in the path", request("GET /\0"), 400],
  ["a tunnel", request("CONNECT localhost:80"), 405],
  ["a method nobody knows", request("FROB /v1/nodes"), 400],
  ["a method in small letters", request("get /v1/nodes"), 400],
  ["a method that is not for the path", request("PATCH /v1/nodes"), 405],
  ["no version", "GET /v1/nodes\r\n\r\n", 400],
  ["a version of the future", `GET / HTTP/9.9\r\n${HOST}\r\n`, 400],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
  ["a header without a colon", request("GET /v1/nodes", `${HOST}nonsense\r\n`), 400],
  ["a header that goes on in the next line", request("GET /v1/nodes", `${HOST} x\r\n`), 400],
  ["a header with a space in its name", request("GET /v1/nodes", "Host : localhost\r\n"), 400],
  ["a long header", request("GET /", `${HOST}X: ${"y".repeat(40_000)}\r\n`), 431],
  ["many headers", request("GET /", `${HOST}${"A: b\r\n".repeat(5_000)}`), 431],
  ["a long URL", request(`GET /${"y".repeat(40_000)}`), 431],
  ["a body of no length", request("POST /v1/nodes", `${HOST}Content-Length: x\r\n`), 400],
  ["a body of less than nothing", request("POST /v1/nodes", `${HOST}Content-Length: -1\r\n`), 400],
  [
    "a body of endless length",
    request("POST /v1/nodes", `${HOST}Content-Length: 9${"0".repeat(11)}\r\n`),
    413,
  ],
  [
    "a body of two lengths",
    request("POST /v1/nodes", `${HOST}Content-Length: 1\r\nContent-Length: 2\r\n`, "{}"),
    400,
  ],
  [
    "a body of two codings",
    request(
      "POST /v1/nodes",
      `${HOST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n`,
      "0\r\n\r\n",
    ),
    400,
  ],
  [
    "a chunk of no length",
    request("POST /v1/nodes", `${HOST}Transfer-Encoding: chunked\r\n`, "zz\r\n"),
    400,
  ],
  [
    "an expectation",
    request("POST /v1/nodes", `${HOST}Expect: magic\r\nContent-Length: 2\r\n`, "{}"),
    417,
  ],
  ["a form", post("Content-Type: multipart/form-data; boundary=x\r\n", "--x--"), 415],
  ["a picture", post("Content-Type: image/png\r\n", "{}"), 415],
  ["another alphabet", post("Content-Type: application/json; charset=utf-16\r\n", "{}"), 415],
  ["a compressed body", post("Content-Encoding: gzip\r\n", "\x1f\x8b"), 415],
  ["a body that is not UTF-8", post("", '{"name":"\xff"}'), 400],
  ["a body that is no JSON", post("", "{"), 400],
  ["a number as body", post("", "1e999"), 400],
  ["a body of nothing but brackets", post("", "[".repeat(60_000)), 400],
  ["a body nested without end", post("", `${"[".repeat(30_000)}${"]".repeat(30_000)}`), 400],
  ["a prototype in the body", post("", '{"__proto__":{"name":"x"},"address":"a:1"}'), 400],
  ["a name of the wrong type", post("", '{"name":{},"address":"a:1"}'), 400],
];

/** Words that stand in our sources and in stacks, and in no answer. */
function expectNoSource(text: string): void {
  for (const telling of ["    at ", ".ts:", "/src/", "bunfs", "<html", "TypeError", "import "])
    expect(text).not.toContain(telling);
}

describe("a request that cannot be read", () => {
  test.each(UNREADABLE)("is refused in JSON: %s", async (_, sent, status) => {
    const heard = await exchange(open.url, sent);
    expect([heard.status, heard.text]).toEqual([status, expect.any(String)]);
    expect(Value.Check(ErrorAnswer, heard.body)).toBe(true);
    expectNoSource(heard.text);
  });

  test("says nothing to the log, and changes nothing", () => {
    expect(logged).toEqual([]);
    expect(registry.size).toBe(0);
  });

  test("is refused by the executable, too", async () => {
    await using manager = await RunningManager.start(scratch.join("m"), ["--http", "127.0.0.1:0"]);
    for (const [what, sent, status] of UNREADABLE) {
      const heard = await exchange(manager.url, sent);
      expect([what, heard.status]).toEqual([what, status]);
      expectNoSource(heard.text);
    }
    expect((await fetch(`${manager.url}/healthz`)).status).toBe(200);
  }, 60_000);
});

describe("a request in another form", () => {
  test.each([
    ["a whole URL", request("GET http://localhost/v1/nodes")],
    ["HTTP/1.0 with a Host", `GET /v1/nodes HTTP/1.0\r\n${HOST}\r\n`],
    ["a Host with a port", request("GET /v1/nodes", "Host: 127.0.0.1:7801\r\n")],
    ["a Host of IPv6", request("GET /v1/nodes", "Host: [::1]:7801\r\n")],
    ["a Host with an underscore", request("GET /v1/nodes", "Host: my_manager\r\n")],
    ["an empty query", request("GET /v1/nodes?")],
    [
      "a wish to speak another protocol",
      request("GET /v1/nodes", `${HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n`),
    ],
  ])("is answered: %s", async (_, sent) => {
    expect(await exchange(open.url, sent)).toMatchObject({ status: 200, body: { nodes: [] } });
  });
});

describe("without a key, a change is asked for", () => {
  const body = '{"address":"10.0.0.1:1"}';
  const change = (headers: string, version = "1.1"): string =>
    `POST /v1/nodes/n1 HTTP/${version}\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;

  test.each([
    ["by a name of another site", "Host: evil.example\r\n"],
    ["by a name that begins like ours", "Host: localhost.evil.example\r\n"],
    ["by a name that leads here", "Host: 127.0.0.1.nip.io\r\n"],
    ["by another address", "Host: 10.0.0.1:7801\r\n"],
    ["for others", `${HOST}X-Forwarded-For: 10.0.0.9\r\n`],
    ["for others, by another word", `${HOST}Forwarded: for=10.0.0.9\r\n`],
    ["for another host", `${HOST}X-Forwarded-Host: manager.example\r\n`],
    ["through a proxy", `${HOST}Via: 1.1 proxy\r\n`],
    ["through nginx", `${HOST}X-Real-IP: 10.0.0.9\r\n`],
    ["through a network of caches", `${HOST}CF-Connecting-IP: 10.0.0.9\r\n`],
    ["through another", `${HOST}True-Client-IP: 10.0.0.9\r\n`],
    ["through a mesh", `${HOST}X-Envoy-External-Address: 10.0.0.9\r\n`],
    ["by a page", `${HOST}Origin: http://localhost:7801\r\n`],
    ["by a page that hides", `${HOST}Origin: null\r\n`],
    ["by a browser", `${HOST}Sec-Fetch-Site: same-origin\r\n`],
  ])("in vain %s", async (_, headers) => {
    const heard = await exchange(open.url, change(headers));
    expect(heard).toMatchObject({ status: 403, body: { error: { code: "RFAAS_TOKEN" } } });
    expect(registry.size).toBe(0);
  });

  test("in vain in the protocol that nginx speaks behind itself", async () => {
    expect((await exchange(open.url, change(HOST, "1.0"))).status).toBe(403);
    expect(registry.size).toBe(0);
  });

  test.each(["localhost", "LOCALHOST:7801", "127.0.0.1", "127.8.9.10:1", "[::1]:7801", hostname()])(
    "and done by a program of this machine that calls it %s",
    async (host) => {
      expect((await exchange(open.url, change(`Host: ${host}\r\n`))).status).toBe(201);
      expect(registry.remove("n1")).toBe(true);
    },
  );

  test("and done through a proxy by whoever shows a token where there is a key", async () => {
    const authorization = `Authorization: Bearer ${await cluster.token({ user: "root", scopes: ["admin"] })}\r\n`;
    const headers = `Host: manager.example\r\nX-Forwarded-For: 10.0.0.9\r\n${authorization}`;
    expect((await exchange(guarded.url, change(headers))).status).toBe(201);
    expect(registry.remove("n1")).toBe(true);
  });
});

describe("a user", () => {
  const get = async (path: string, user: string, scopes: Scope[]) => {
    const authorization = `Bearer ${await cluster.token({ user, scopes })}`;
    const response = await fetch(guarded.url + path, { headers: { authorization } });
    const body = (await response.json()) as {
      rows?: { user: string }[];
      leases?: { user: string }[];
    };
    return [response.status, (body.rows ?? body.leases)?.map(({ user }) => user)];
  };

  test("sees his own bill and leases, and nobody else's", async () => {
    for (const path of ["/v1/bill", "/v1/bill?user=alice", "/v1/leases"])
      expect(await get(path, "alice", ["client", "read"])).toEqual([200, ["alice"]]);
    expect(await get("/v1/bill?user=bob", "alice", ["client", "read"])).toEqual([403, undefined]);
    expect(await get("/v1/bill", "carol", ["client", "read"])).toEqual([200, []]);
    expect(await get("/v1/leases", "alice", ["client"])).toEqual([403, undefined]);
  });

  test("who is an admin, or only looks, sees all", async () => {
    for (const path of ["/v1/bill", "/v1/leases"])
      for (const scopes of [["admin"], ["client", "admin"], ["read"]] as Scope[][])
        expect(await get(path, "root", scopes)).toEqual([200, ["alice", "bob"]]);
    expect(await get("/v1/bill?user=bob", "root", ["admin"])).toEqual([200, ["bob"]]);
  });
});

describe("whoever connects", () => {
  test("and does not end a request is closed, and told why", async () => {
    const socket = connectTo(open.url);
    let heard = "";
    let closed = false;
    socket.on("data", (bytes: Buffer) => (heard += bytes.toString()));
    socket.on("close", () => (closed = true));
    socket.write("GET /v1/nodes HTTP/1.1\r\n");
    // Never silent for long, and never done.
    const dripping = setInterval(() => socket.write("A: b\r\n"), 500);
    try {
      await until(() => closed, "it is closed", 30_000);
    } finally {
      clearInterval(dripping);
    }
    expect(heard).toStartWith("HTTP/1.1 408");
  }, 60_000);

  test("and does not end a body is closed", async () => {
    const socket = connectTo(open.url);
    let closed = false;
    socket.on("close", () => (closed = true));
    socket.write(request("POST /v1/nodes", `${HOST}Content-Length: 60000\r\n`, "{"));
    const dripping = setInterval(() => socket.write(" "), 500);
    socket.on("data", () => {});
    try {
      await until(() => closed, "it is closed", 30_000);
    } finally {
      clearInterval(dripping);
    }
  }, 60_000);

  test("in any number keeps nobody else from being served", async () => {
    const half: Socket[] = [];
    let closed = 0;
    for (let i = 0; i < MAX_CONNECTIONS + 60; i++) {
      const socket = connectTo(open.url);
      socket.on("close", () => closed++);
      socket.on("data", () => {});
      socket.write("GET /v1/nodes HTTP/1.1\r\n");
      half.push(socket);
    }
    await until(() => closed >= 60, "those that came first made room");
    expect(await exchange(open.url, request("GET /v1/nodes"))).toMatchObject({ status: 200 });
    for (const socket of half) socket.destroy();
  }, 60_000);
});
