/** Which scope of a token opens which door: every route of the manager's HTTP, the manager's port, and the node. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Doorkeeper } from "../../src/executor/admission/identity.ts";
import { OPERATIONS } from "../../src/manager/http/routes.ts";
import { type HttpServer, startHttp } from "../../src/manager/http/server.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Manager } from "../../src/manager/manager.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { SignedTokens } from "../../src/manager/tokens/keys.ts";
import { userLimits } from "../../src/manager/quotas/user-limits.ts";
import { TokenTables } from "../../src/manager/tokens/tables.ts";
import { MANAGER_PROTOCOL_VERSION, type UsageReport } from "../../src/protocol/manager-messages.ts";
import { SCOPES, type Scope } from "../../src/protocol/token.ts";
import { MemoryPeer } from "../support/memory-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const cluster = new SigningCluster();
const tokens = new SignedTokens(cluster.publicKey);

/** By role: the scopes of its token, which is ada's. */
const ROLES = {
  nobody: null,
  client: ["client"],
  bill: ["bill"],
  node: ["node"],
  read: ["read"],
  admin: ["admin"],
  renew: ["renew"],
  "client,read": ["client", "read"],
  "client,bill": ["client", "bill"],
  "read,admin": ["read", "admin"],
} as const satisfies Record<string, readonly Scope[] | null>;
type Role = keyof typeof ROLES;
const roles = Object.keys(ROLES) as Role[];

const LOOK: Role[] = ["read", "admin", "client,read", "read,admin"];
const CHANGE: Role[] = ["admin", "read,admin"];
const TAKE: Role[] = ["client", "client,read", "client,bill"];
const BILL: Role[] = ["bill", "client,bill", ...LOOK];
/** Those who see what others have used. */
const SEE_ALL: Role[] = ["read", "admin", "read,admin"];

/** Who is let in where. A route that is not here fails a test. */
const ROUTES: Record<string, Role[]> = {
  "GET /v1/nodes": LOOK,
  "POST /v1/nodes": CHANGE,
  "GET /v1/nodes/{name}": LOOK,
  "POST /v1/nodes/{name}": CHANGE,
  "DELETE /v1/nodes/{name}": CHANGE,
  "POST /v1/nodes/{name}/drain": CHANGE,
  "POST /v1/nodes/{name}/resume": CHANGE,
  "POST /v1/nodes/{name}/readmit": CHANGE,
  "GET /v1/leases": LOOK,
  "GET /v1/bill": BILL,
  "GET /v1/tokens": LOOK,
  "POST /v1/tokens/{name}/revoke": CHANGE,
  "POST /v1/users/{name}/revoke": CHANGE,
  "GET /v1/users": LOOK,
  "GET /v1/users/{name}": LOOK,
  "POST /v1/users/{name}": CHANGE,
  "GET /healthz": roles,
};

const report = (lease: string, user: string): UsageReport => ({
  ...{ lease: `n1-first/${lease}`, node: "n1", user, workers: 1, startedAtMs: 5 },
  ...{ endedAtMs: null, reason: null },
  usage: { allocationCoreNs: 1e9, executionNs: 0, pollingNs: 0, calls: 1, bytes: 0 },
});
const REPORTS = [report("1", "ada"), report("2", "bob")];

const scratch = new Scratch();
const ledger = Ledger.open(scratch.join("ledger.sqlite"));
const tables = TokenTables.open(scratch.join("state"));
const registry = new Registry();
const manager = new Manager({ registry, ledger, tokens, log() {} });
const signed = new Map<Role, string | null>();
let http: HttpServer;
beforeAll(async () => {
  ledger.record(REPORTS);
  for (const role of roles) {
    const scopes = ROLES[role];
    // A node's token names its node.
    const node = role === "node" ? { node: "n1" } : {};
    signed.set(
      role,
      scopes && (await cluster.token({ user: "ada", scopes: [...scopes], ...node })),
    );
  }
  http = await startHttp({
    ...{
      listen: "127.0.0.1:0",
      registry,
      ledger,
      tokens,
      issued: tables,
      limits: userLimits(scratch.join("state")),
      log() {},
    },
    server: {
      ...{ drain: () => false, resume: () => false, remove: () => false },
      readmit: () => undefined,
      leases: () => REPORTS,
      ledgerOf: () => ({ ledger: "messages", ledgerAdds: 0, usageMessages: 0 }),
    },
  });
});
afterAll(async () => {
  await http.stop();
  manager.close();
  ledger.close();
  scratch[Symbol.dispose]();
});

async function ask(method: string, path: string, role: Role): Promise<Response> {
  const token = signed.get(role);
  return await fetch(`${http.url}${path.replace("{name}", "n9")}`, {
    method,
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    ...(method === "GET" ? {} : { body: "{}" }),
  });
}

test("the table has every route and every scope", () => {
  const routes = OPERATIONS.map(({ method, path }) => `${method} ${path}`);
  expect(Object.keys(ROUTES).toSorted()).toEqual(routes.toSorted());
  const tried = new Set<string>(Object.values(ROLES).flatMap((scopes) => scopes ?? []));
  expect([...tried].toSorted()).toEqual([...SCOPES].toSorted());
});

describe("over HTTP", () => {
  const table = Object.entries(ROUTES).flatMap(([route, allowed]) =>
    roles.map((role) => [role, route, allowed.includes(role)] as const),
  );
  test.each(table)("%s, %s: %p", async (role, route, allowed) => {
    const [method, path] = route.split(" ") as [string, string];
    const { status } = await ask(method, path, role);
    // What is asked of a node that is not there, or without a body, has got past the door.
    if (allowed) expect([200, 400, 404]).toContain(status);
    else expect(status).toBe(role === "nobody" ? 401 : 403);
  });

  test.each(BILL)(
    "a token of %s sees the bill of its user, and others' only where it may",
    async (role) => {
      const rows = async (query = ""): Promise<string[]> => {
        const answer = (await (await ask("GET", `/v1/bill${query}`, role)).json()) as {
          rows: { user: string }[];
        };
        return answer.rows.map(({ user }) => user);
      };
      expect(await rows("?user=ada")).toEqual(["ada"]);
      if (SEE_ALL.includes(role)) {
        expect(await rows()).toEqual(["ada", "bob"]);
        expect(await rows("?user=bob")).toEqual(["bob"]);
      } else {
        expect(await rows()).toEqual(["ada"]);
        const denied = await ask("GET", "/v1/bill?user=bob", role);
        expect(denied.status).toBe(403);
      }
    },
  );

  test.each(LOOK)(
    "a token of %s sees leases of its user, and others' only where it may",
    async (role) => {
      const answer = (await (await ask("GET", "/v1/leases", role)).json()) as {
        leases: UsageReport[];
      };
      const users = SEE_ALL.includes(role) ? ["ada", "bob"] : ["ada"];
      expect(answer.leases.map(({ user }) => user)).toEqual(users);
    },
  );
});

/** The first answer of the manager to a greeting. */
async function greeted(greeting: object): Promise<MemoryPeer> {
  const header = { protocol: MANAGER_PROTOCOL_VERSION, version: "1.0.0" };
  const peer = new MemoryPeer(manager).send({ ...header, ...greeting });
  await until(() => peer.heard.length > 0, "the manager answers");
  return peer;
}

describe("at the manager's port", () => {
  test.each(roles)("%s subscribes, and lists leases, where it may", async (role) => {
    const peer = await greeted({ t: "subscribe", token: signed.get(role) });
    const allowed = TAKE.includes(role) || LOOK.includes(role);
    expect(peer.heard[0]!["t"]).toBe(allowed ? "manager-key" : "refused");
    if (allowed) {
      peer.send({ t: "list-leases", id: 1 });
      await until(() => peer.heard.some(({ id }) => id === 1), "the list, or why not");
      const answer = peer.heard.find(({ id }) => id === 1)!;
      expect(answer["t"]).toBe(LOOK.includes(role) ? "list-leases-reply" : "failed");
    }
    peer.leave();
  });

  test.each(roles)("%s announces the node n1 where it may, and no other", async (role) => {
    const announce = (name: string) => ({
      ...{ t: "announce", name, instance: `${name}-first`, address: `${name}:7000`, cores: 8 },
      ...{ memoryBytes: 2 ** 33, fabrics: ["shm"], machine: "m", token: signed.get(role) },
      settling: false,
    });
    const [own, other] = [await greeted(announce("n1")), await greeted(announce("n2"))];
    expect(own.heard[0]!["t"]).toBe(role === "node" ? "accepted" : "refused");
    expect(other.heard[0]!["t"]).toBe("refused");
    own.send({ t: "leaving" });
  });
});

test.each(roles)("on a node, %s takes leases where it may", async (role) => {
  const doorkeeper = new Doorkeeper(false, "n1");
  doorkeeper.useKey(cluster.publicKey, "the cluster's key");
  const end = { places: [], key: null };
  const by = { trusted: false, end, prove: async () => "" };
  const identity = await doorkeeper.identify(signed.get(role)!, by);
  if (TAKE.includes(role)) expect(identity).toMatchObject({ user: "ada" });
  else expect(identity).toMatchObject({ refused: expect.any(String) });
});
