/** The manager's HTTP interface as programs meet it: a real server in this process, real requests over loopback. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { Value } from "@sinclair/typebox/value";
import { AddressInUse, LedgerUnavailable, UsageError } from "../../src/base/errors.ts";
import { type HttpServer, MAX_BODY_BYTES, startHttp } from "../../src/manager/http/server.ts";
import type { NodeControl } from "../../src/manager/http/operation.ts";
import { OPERATIONS } from "../../src/manager/http/routes.ts";
import { ErrorAnswer, NodeStatus } from "../../src/manager/http/schemas.ts";
import { Bill } from "../../src/manager/ledger/bill.ts";
import type { NodeLedger } from "../../src/manager/ledger/node-ledger.ts";
import { NoTokens, SignedTokens } from "../../src/manager/tokens/keys.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { DEFAULT_PRICES } from "../../src/manager/ledger/prices.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import type { NodeInfo, UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Scope } from "../../src/protocol/token.ts";
import { Scratch } from "../support/scratch.ts";
import { NO_LIMITS, NONE_ISSUED, SigningCluster } from "../support/tokens.ts";

const cluster = new SigningCluster();
const tokenFor = (scopes: Scope[], expiresAtMs: number | null = null): Promise<string> =>
  cluster.token({ scopes, expiresAtMs });
const ADMIN = await tokenFor(["admin"]);

const LEASE: UsageReport = {
  ...{ lease: "i/1", node: "n1", user: "ada", workers: 2 },
  ...{ startedAtMs: Date.UTC(2026, 0, 1), endedAtMs: null, reason: null },
  usage: { allocationCoreNs: 4e9, executionNs: 3e9, pollingNs: 2e9, calls: 1e6, bytes: 2 ** 30 },
};

const TOLD: NodeLedger = { ledger: "verbs", ledgerAdds: 7, usageMessages: 2 };

const ANNOUNCED = {
  ...{ name: "n1", address: "10.0.0.1:7700", cores: 1, memoryBytes: 1 },
  ...{ instance: "i", fabrics: [], machine: "m", version: "1" },
};

/** What the server does to the nodes that are connected; here none is. */
class Control implements NodeControl {
  readonly drains: [name: string, deadlineMs: number][] = [];
  readonly #registry: Registry;
  constructor(registry: Registry) {
    this.#registry = registry;
  }
  drain(name: string, deadlineMs: number): boolean {
    this.drains.push([name, deadlineMs]);
    return this.#registry.drain(name, deadlineMs, 0);
  }
  resume(name: string): boolean {
    return this.#registry.resume(name);
  }
  remove(name: string): boolean {
    return this.#registry.remove(name);
  }
  readmit(text: string): string | undefined {
    return this.#registry.readmit(text);
  }
  ledgerOf(): NodeLedger {
    return TOLD;
  }
  leases(): UsageReport[] {
    return [LEASE];
  }
}

interface Reply {
  status: number;
  headers: Headers;
  body: Body;
}

/** The fields of all answers together; which are there is for each test to say. */
interface Body extends NodeInfo {
  error: { code: string; message: string; path?: string };
  nodes: NodeInfo[];
  rows: { user: string }[];
  total: number;
  status: string;
  ledger: string;
  openapi: string;
  paths: Record<string, Record<string, { operationId: string; requestBody?: object }>>;
  components: { schemas: Record<string, object> };
}

class Fixture implements AsyncDisposable {
  readonly #scratch = new Scratch();
  readonly ledger = Ledger.open(this.#scratch.join("ledger.sqlite"));
  readonly registry = new Registry();
  readonly control = new Control(this.registry);
  readonly logged: string[] = [];
  #http!: HttpServer;
  failLedger = false;

  static async start(
    tokens: SignedTokens | NoTokens = new SignedTokens(cluster.publicKey),
    listen = "127.0.0.1:0",
  ): Promise<Fixture> {
    const fixture = new Fixture();
    await fixture.#start(tokens, listen);
    return fixture;
  }

  get url(): string {
    return this.#http.url;
  }

  async #start(tokens: SignedTokens | NoTokens, listen: string): Promise<void> {
    const { ledger } = this;
    const failing = new LedgerUnavailable("the disk is full; make room");
    const failure = (): LedgerUnavailable | null => (this.failLedger ? failing : null);
    this.#http = await startHttp({
      listen,
      registry: this.registry,
      server: this.control,
      issued: NONE_ISSUED,
      limits: NO_LIMITS,
      ledger: {
        bill: (query) => {
          if (this.failLedger) throw failing;
          return ledger.bill(query);
        },
        get failure() {
          return failure();
        },
      },
      tokens,
      log: (_, message) => this.logged.push(message),
    });
  }

  async ask(
    method: string,
    path: string,
    { token = ADMIN, body, headers = {} }: Asking = {},
  ): Promise<Reply> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
      ...(body === undefined
        ? {}
        : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    if (text !== "") expect(response.headers.get("content-type")).toBe("application/json");
    const reply = { status: response.status, headers: response.headers };
    return { ...reply, body: (text === "" ? undefined : JSON.parse(text)) as Body };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.stop();
    this.ledger.close();
    this.#scratch[Symbol.dispose]();
  }
}

interface Asking {
  token?: string | null;
  body?: unknown;
  headers?: Record<string, string>;
}

describe("nodes", () => {
  test("are expected, shown, drained, resumed and removed", async () => {
    await using f = await Fixture.start();
    const node = { name: "n1", address: "10.0.0.1:7700", cores: 8, memory: 2 ** 33 };
    const added = await f.ask("POST", "/v1/nodes", { body: node });
    expect(added.status).toBe(201);
    expect(added.headers.get("location")).toBe("/v1/nodes/n1");
    expect(added.body).toMatchObject({ name: "n1", state: "expected", cores: 8, freeCores: 0 });
    expect((await f.ask("POST", "/v1/nodes", { body: node })).status).toBe(200);
    expect(f.registry.isExpected("n1")).toBe(true);

    const { body } = await f.ask("GET", "/v1/nodes/n1");
    expect<unknown>(body).toEqual({ ...f.registry.get("n1"), ...TOLD });
    expect(Value.Check(NodeStatus, body)).toBe(true);
    expect<unknown>((await f.ask("GET", "/v1/nodes")).body).toEqual({ nodes: [body] });

    const drained = await f.ask("POST", "/v1/nodes/n1/drain", { body: { deadlineMs: 0 } });
    expect([drained.status, drained.body.name]).toEqual([202, "n1"]);
    expect((await f.ask("POST", "/v1/nodes/n1/drain")).status).toBe(202);
    expect(f.control.drains).toEqual([
      ["n1", 0],
      ["n1", 30_000],
    ]);
    expect((await f.ask("POST", "/v1/nodes/n1/resume")).status).toBe(202);
    expect(f.registry.drainLeftMs("n1", 0)).toBeUndefined();

    const removed = await f.ask("DELETE", "/v1/nodes/n1");
    expect<unknown[]>([removed.status, removed.body]).toEqual([204, undefined]);
    expect<unknown>((await f.ask("GET", "/v1/nodes")).body).toEqual({ nodes: [] });
  });

  test("are found by their address, as anyone writes it, where it is that of one node", async () => {
    await using f = await Fixture.start();
    const at = (text: string, what = ""): string => `/v1/nodes/${encodeURIComponent(text)}${what}`;
    for (const [name, address] of [
      ["n1", "[fe80::1]:7700"],
      ["n2", "/run/rfaas.sock"],
      ["n3", "/run/rfaas.sock"],
    ] as const)
      await f.ask("POST", "/v1/nodes", { body: { name, address } });
    expect((await f.ask("GET", at("[fe80::1]:7700"))).body.name).toBe("n1");
    expect((await f.ask("POST", at("[fe80::1]:7700", "/drain"))).status).toBe(202);
    expect(f.control.drains.map(([name]) => name)).toEqual(["n1"]);
    const two = await f.ask("DELETE", at("unix:/run/rfaas.sock"));
    expect([two.status, two.body.error.code]).toEqual([409, "RFAAS_USAGE"]);
    expect(two.body.error.message).toContain("n2, n3");
    expect((await f.ask("DELETE", at("rfaas://[fe80::1]:7700"))).status).toBe(404);
  });

  test("that were taken out come again once they are let, by name or address", async () => {
    await using f = await Fixture.start();
    const node = { name: "n1", address: "10.0.0.1:7700" };
    for (const called of ["n1", "10.0.0.1:7700"]) {
      expect((await f.ask("POST", "/v1/nodes", { body: node })).status).toBe(201);
      expect((await f.ask("DELETE", `/v1/nodes/${called}`)).status).toBe(204);
      const again = f.registry.announce(ANNOUNCED, 0);
      expect(again).toMatchObject({ kind: "refused", code: "RFAAS_NODE_REMOVED" });
      expect((await f.ask("POST", `/v1/nodes/${called}/readmit`)).status).toBe(204);
    }
    expect((await f.ask("POST", "/v1/nodes/n1/readmit")).status).toBe(404);
    await f.ask("POST", "/v1/nodes", { body: node });
    await f.ask("DELETE", "/v1/nodes/n1");
    expect((await f.ask("POST", "/v1/nodes", { body: node })).status).toBe(201);
    expect(f.registry.announce(ANNOUNCED, 0).kind).toBe("accepted");
  });

  test("may be named in the path, with characters that need escapes", async () => {
    await using f = await Fixture.start();
    const path = `/v1/nodes/${encodeURIComponent("rack:1.a")}`;
    expect((await f.ask("POST", path, { body: { address: "/run/a.sock" } })).status).toBe(201);
    expect((await f.ask("GET", path)).body).toMatchObject({ name: "rack:1.a", cores: 0 });
    expect((await f.ask("DELETE", path)).status).toBe(204);
  });

  test.each([
    ["GET", "/v1/nodes/none"],
    ["DELETE", "/v1/nodes/none"],
    ["POST", "/v1/nodes/none/drain"],
    ["POST", "/v1/nodes/none/resume"],
    ["POST", "/v1/nodes/none/readmit"],
    ["GET", "/"],
    ["GET", "/v1"],
    ["GET", "/v1/nodes/"],
    ["GET", "/v1/nodes/a/b/c"],
    ["GET", "/v2/nodes"],
  ])("that are not there are not found: %s %s", async (method, path) => {
    await using f = await Fixture.start();
    const { status, body } = await f.ask(method, path);
    expect([status, body.error.code]).toEqual([404, "RFAAS_NOT_FOUND"]);
    expect(body.error.message).toMatch(/; see (?:.*\()?(?:GET )?\//);
  });
});

describe("leases and bills", () => {
  test("are shown as the schemas say", async () => {
    await using f = await Fixture.start();
    expect<unknown>((await f.ask("GET", "/v1/leases")).body).toEqual({ leases: [LEASE] });
    f.ledger.record([LEASE, { ...LEASE, lease: "i/2", user: "bob", startedAtMs: Date.now() }]);
    const { body } = await f.ask("GET", "/v1/bill");
    const { currency: _, ...each } = DEFAULT_PRICES;
    const cost =
      4 * each.coreSecond +
      3 * each.executionSecond +
      2 * each.pollingSecond +
      each.millionCalls +
      each.gib;
    expect<unknown>(body.rows).toEqual([
      { user: "ada", project: null, leases: 1, live: 1, presumed: 0, ...LEASE.usage, cost },
      { user: "bob", project: null, leases: 1, live: 1, presumed: 0, ...LEASE.usage, cost },
    ]);
    expect(body.total).toBeCloseTo(2 * cost, 12);
    expect(Value.Check(Bill, body)).toBe(true);
  });

  test("are of a user, a project and a period", async () => {
    await using f = await Fixture.start();
    f.ledger.record([LEASE, { ...LEASE, lease: "i/2", user: "bob", startedAtMs: Date.now() }]);
    const users = async (query: string): Promise<string[]> =>
      (await f.ask("GET", `/v1/bill?${query}`)).body.rows.map(({ user }) => user);
    expect(await users("user=bob")).toEqual(["bob"]);
    f.ledger.record([{ ...LEASE, lease: "i/3", user: "eve", project: "climate" }]);
    expect(await users("project=climate")).toEqual(["eve"]);
    expect(await users("project=climate&user=bob")).toEqual([]);
    f.ledger.record([{ ...LEASE, lease: "i/4", user: "eve", project: "genome" }]);
    expect(await users("user=eve")).toEqual(["eve", "eve"]);
    expect(await users("since=1h")).toEqual(["bob"]);
    const old = ["ada", "eve", "eve"];
    expect(await users("until=2026-01-02")).toEqual(old);
    expect(await users("since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:01Z")).toEqual(old);
    const since = encodeURIComponent("2026-01-01T02:00:00+02:00");
    expect(await users(`since=${since}`)).toEqual(["ada", "bob", "eve", "eve"]);
  });

  test("keep all digits of large sums", async () => {
    await using f = await Fixture.start();
    const usage = { ...LEASE.usage, executionNs: 2 ** 53 };
    const one = { ...LEASE, lease: "one", usage: { ...usage, executionNs: 1 } };
    f.ledger.record([one, { ...LEASE, usage }, { ...LEASE, lease: "i/2", usage }]);
    const headers = { authorization: `Bearer ${ADMIN}` };
    const text = await (await fetch(`${f.url}/v1/bill`, { headers })).text();
    expect(text).toContain(`"executionNs":${2n ** 54n + 1n},`);
  });

  test("that cannot be read now are answered with 503 and the reason", async () => {
    await using f = await Fixture.start();
    f.failLedger = true;
    const { status, body } = await f.ask("GET", "/v1/bill");
    expect([status, body.error]).toEqual([
      503,
      { code: "RFAAS_LEDGER", message: "the disk is full; make room" },
    ]);
    expect(f.logged).toHaveLength(1);
  });
});

describe("a request that is wrong", () => {
  const node = { name: "n1", address: "a:1" };

  test.each<[path: string, body: unknown, wrong: string]>([
    ["/v1/nodes", { address: "a:1" }, "/name"],
    ["/v1/nodes", { name: "n1" }, "/address"],
    ["/v1/nodes", { ...node, name: "" }, "/name"],
    ["/v1/nodes", { ...node, name: "a b" }, "/name"],
    ["/v1/nodes", { ...node, name: "n".repeat(129) }, "/name"],
    ["/v1/nodes", { ...node, name: 7 }, "/name"],
    ["/v1/nodes", { ...node, address: "" }, "/address"],
    ["/v1/nodes", { ...node, cores: 0 }, "/cores"],
    ["/v1/nodes", { ...node, cores: 1e9 }, "/cores"],
    ["/v1/nodes", { ...node, cores: 1.5 }, "/cores"],
    ["/v1/nodes", { ...node, cores: "8" }, "/cores"],
    ["/v1/nodes", { ...node, memory: -1 }, "/memory"],
    ["/v1/nodes", { ...node, color: "red" }, "/color"],
    ["/v1/nodes", [], "/"],
    ["/v1/nodes", "null", "/"],
    ["/v1/nodes", '"text"', "/"],
    ["/v1/nodes", "{", "/"],
    ["/v1/nodes", "\u0000", "/"],
    ["/v1/nodes", "", "/name"],
    ["/v1/nodes/n2", node, "/name"],
    ["/v1/nodes/a%20b", { address: "a:1" }, "/name"],
    ["/v1/nodes/%ff", { address: "a:1" }, "/name"],
    ["/v1/nodes/n1/drain", { deadlineMs: -1 }, "/deadlineMs"],
    ["/v1/nodes/n1/drain", { deadlineMs: "30s" }, "/deadlineMs"],
    ["/v1/nodes/n1/drain", { deadline: 1 }, "/deadline"],
    ["/v1/nodes/n1/resume", { now: true }, "/now"],
    ["/v1/nodes/n1/resume?now=1", {}, "/now"],
  ])("is answered with 400 and the wrong field: %s %j", async (path, body, wrong) => {
    await using f = await Fixture.start();
    const reply = await f.ask("POST", path, { body });
    expect([reply.status, reply.body.error.path]).toEqual([400, wrong]);
    expect(Value.Check(ErrorAnswer, reply.body)).toBe(true);
    expect(f.registry.size).toBe(0);
  });

  test.each([
    ["since=never", "/since"],
    ["until=2026-02-30", "/until"],
    ["since=", "/since"],
    ["user=a&user=b", "/user"],
    [`user=${"u".repeat(300)}`, "/user"],
    ["from=1d", "/from"],
  ])("is answered with 400 and the wrong parameter: ?%s", async (query, wrong) => {
    await using f = await Fixture.start();
    const { status, body } = await f.ask("GET", `/v1/bill?${query}`);
    expect([status, body.error.path]).toEqual([400, wrong]);
  });

  test.each([
    ["PUT", "/v1/nodes", "GET, POST, HEAD"],
    ["DELETE", "/v1/nodes", "GET, POST, HEAD"],
    ["PATCH", "/v1/nodes/n1", "GET, POST, DELETE, HEAD"],
    ["GET", "/v1/nodes/n1/drain", "POST"],
    ["POST", "/v1/leases", "GET, HEAD"],
    ["POST", "/v1/bill", "GET, HEAD"],
    ["OPTIONS", "/v1/nodes/n1", "GET, POST, DELETE, HEAD"],
    ["POST", "/healthz", "GET, HEAD"],
    ["DELETE", "/openapi.json", "GET, HEAD"],
  ])("is answered with 405 and what is allowed: %s %s", async (method, path, allowed) => {
    await using f = await Fixture.start();
    const { status, headers, body } = await f.ask(method, path);
    expect([status, headers.get("allow")]).toEqual([405, allowed]);
    expect(body.error.code).toBe("RFAAS_METHOD");
  });

  test("is answered with 413 when its body is too long, said or not", async () => {
    await using f = await Fixture.start();
    const long = " ".repeat(MAX_BODY_BYTES + 1);
    const { status, body } = await f.ask("POST", "/v1/nodes", { body: long });
    expect([status, body.error.code]).toEqual([413, "RFAAS_TOO_LARGE"]);

    const piece = "10000\r\n" + " ".repeat(0x10000) + "\r\n";
    const head = `POST /v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ADMIN}\r\n`;
    const answer = await exchange(
      f.url,
      `${head}Transfer-Encoding: chunked\r\n\r\n${piece}${piece}`,
    );
    expect(answer).toStartWith("HTTP/1.1 413");

    const lie = await exchange(f.url, `${head}Content-Length: 99999999999\r\n\r\n`);
    expect(lie).toStartWith("HTTP/1.1 413");
    const fits = JSON.stringify(node).padEnd(MAX_BODY_BYTES, " ");
    expect((await f.ask("POST", "/v1/nodes", { body: fits })).status).toBe(201);
  });
});

/** Sends raw bytes and returns the beginning of what comes back. */
async function exchange(url: string, request: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write(request);
  for await (const bytes of socket) {
    socket.destroy();
    return String(bytes);
  }
  return "";
}

describe("with a key", () => {
  test("every operation but two wants a token of the right scope", async () => {
    await using f = await Fixture.start();
    for (const { method, path, scope } of OPERATIONS) {
      const where = path.replace("{name}", "n1");
      const status = async (token: string | null) =>
        (await f.ask(method, where, { token, ...(method === "GET" ? {} : { body: {} }) })).status;
      if (scope === null) {
        expect(await status(null)).toBe(200);
        continue;
      }
      expect(await status(null)).toBe(401);
      expect(await status(await tokenFor(["client", "node"]))).toBe(403);
      expect(await status(await tokenFor(["read"]))).toBe(
        // A user may be there of whom the manager has not heard.
        scope === "admin" ? 403 : path === "/v1/nodes/{name}" ? 404 : 200,
      );
      expect([401, 403]).not.toContain(await status(ADMIN));
    }
    expect((await f.ask("GET", "/openapi.json", { token: null })).status).toBe(200);
  });

  test("a token that is no good is refused with the reason, and never shown", async () => {
    await using f = await Fixture.start();
    const foreign = await new SigningCluster().token({ user: "eve", scopes: ["admin"] });
    const elsewhere = new SigningCluster("other", cluster.privateKey);
    const cases: [string, RegExp][] = [
      ["nonsense", /malformed/],
      [foreign, /not signed with this manager's key/],
      [await elsewhere.token({ scopes: ["admin"] }), /for another cluster \(other\)/],
      ["rfaas1.e30.e30", /made by an earlier rfaas.*rfaas token create/],
      [await tokenFor(["admin"], 1000), /expired at 1970-01-01 00:00:01 UTC/],
    ];
    for (const [token, reason] of cases) {
      const { status, headers, body } = await f.ask("GET", "/v1/nodes", { token });
      expect(status).toBe(401);
      expect(headers.get("www-authenticate")).toBe('Bearer realm="rfaas", scope="read"');
      expect(body.error).toMatchObject({ code: "RFAAS_TOKEN" });
      expect(body.error.message).toMatch(reason);
      expect(JSON.stringify([body, f.logged])).not.toContain(token.slice(-40));
    }
  });

  test("the token stands in the header, however the scheme is written", async () => {
    await using f = await Fixture.start();
    const status = async (authorization: string) =>
      (await f.ask("GET", "/v1/nodes", { token: null, headers: { authorization } })).status;
    expect(await status(`bearer ${ADMIN}`)).toBe(200);
    expect(await status(`BEARER   ${ADMIN}`)).toBe(200);
    expect(await status(`Basic ${ADMIN}`)).toBe(401);
    expect(await status(ADMIN)).toBe(401);
    expect(await status("Bearer")).toBe(401);
    const { status: inQuery } = await f.ask("GET", `/v1/nodes?token=${ADMIN}`, { token: null });
    expect(inQuery).toBe(401);
  });

  test("whoever may not change a thing learns nothing of what is there", async () => {
    await using f = await Fixture.start();
    const { status } = await f.ask("DELETE", "/v1/nodes/none", { token: null });
    expect(status).toBe(401);
  });
});

describe("without a key", () => {
  test("programs of this machine may change things, pages of a browser may not", async () => {
    await using f = await Fixture.start(new NoTokens());
    const body = { name: "n1", address: "a:1" };
    expect((await f.ask("POST", "/v1/nodes", { token: null, body })).status).toBe(201);
    const headers = { origin: "https://example.org" };
    const page = await f.ask("DELETE", "/v1/nodes/n1", { token: null, headers });
    expect([page.status, page.body.error.code]).toEqual([403, "RFAAS_TOKEN"]);
    expect((await f.ask("GET", "/v1/nodes", { token: null })).body.nodes).toHaveLength(1);
  });

  const outside = ownAddress();
  if (!outside) console.warn("skipped, no address but loopback: other machines may only look");
  test.skipIf(!outside)("other machines may only look", async () => {
    await using f = await Fixture.start(new NoTokens(), "0.0.0.0:0");
    const url = `http://${outside}:${new URL(f.url).port}/v1/nodes`;
    expect((await fetch(url)).status).toBe(200);
    const body = JSON.stringify({ name: "n1", address: "a:1" });
    const answer = await fetch(url, { method: "POST", body });
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain("only programs on its own machine");
    expect(f.registry.size).toBe(0);
  });
});

describe("programs that look", () => {
  test("learn whether the manager is well", async () => {
    await using f = await Fixture.start();
    const { status, body } = await f.ask("GET", "/healthz", { token: null });
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: "ok", ledger: "ok", nodes: 0 });
  });

  test("learn that the ledger fails, and nothing of where it is", async () => {
    await using f = await Fixture.start();
    f.failLedger = true;
    const { status, body } = await f.ask("GET", "/healthz", { token: null });
    expect(status).toBe(503);
    expect(body).toMatchObject({ status: "degraded", ledger: "RFAAS_LEDGER" });
  });

  test("may ask for the head alone", async () => {
    await using f = await Fixture.start();
    const { status, body } = await f.ask("HEAD", "/v1/nodes");
    expect<unknown[]>([status, body]).toEqual([200, undefined]);
  });

  test("get a description that has every operation, and whose references lead somewhere", async () => {
    await using f = await Fixture.start();
    const { body } = await f.ask("GET", "/openapi.json", { token: null });
    expect(body.openapi).toBe("3.1.0");
    for (const { method, path, id } of OPERATIONS)
      expect(body.paths[path]![method.toLowerCase()]!.operationId).toBe(id);
    const text = JSON.stringify(body);
    const names = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
    expect(new Set(names)).toEqual(new Set(["Node", "Lease", "Bill", "Prices", "Error"]));
    for (const name of names)
      expect(body.components.schemas[name!]).toMatchObject({ type: "object" });
    expect(body.paths["/v1/nodes"]!["post"]!.requestBody).toMatchObject({
      required: true,
      content: { "application/json": { schema: { required: ["name", "address"] } } },
    });
  });
});

describe("the port", () => {
  test("that is taken, or is none, is refused with what to do", async () => {
    await using f = await Fixture.start();
    const listen = new URL(f.url).host;
    await expect(Fixture.start(undefined, listen)).rejects.toThrow(AddressInUse);
    await expect(Fixture.start(undefined, listen)).rejects.toThrow(/choose another --http$/);
    await expect(Fixture.start(undefined, "/run/x.sock")).rejects.toThrow(UsageError);
  });

  test("is free again when the server has stopped", async () => {
    const first = await Fixture.start();
    const listen = new URL(first.url).host;
    await first[Symbol.asyncDispose]();
    await using second = await Fixture.start(undefined, listen);
    expect((await second.ask("GET", "/healthz")).status).toBe(200);
  });
});

/** An IPv4 address of this machine that is not loopback. */
function ownAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === "IPv4" && !address.internal)?.address;
}
