/** The operations of the manager's HTTP interface, each with the schemas that check its requests and describe it to programs. */
import { type Static, Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { parseMoment } from "../../base/units.ts";
import { VERSION } from "../../base/version.ts";
import { type NodeInfo, UsageReport } from "../../protocol/manager-messages.ts";
import { Bill, billOf } from "../ledger/bill.ts";
import { type Viewer, leasesFor } from "../tokens/viewer.ts";
import {
  type Answer,
  HttpError,
  type Manager,
  type Operation,
  checked,
  operation,
} from "./operation.ts";
import {
  BillQuery,
  DEFAULT_DRAIN_MS,
  Drain,
  Health,
  NamedNode,
  NewNode,
  NodeStatus,
} from "./schemas.ts";
import { TOKEN_OPERATIONS } from "./token-routes.ts";
import { USER_OPERATIONS } from "./user-routes.ts";

export const OPERATIONS: readonly Operation[] = [
  operation({
    ...{ method: "GET", path: "/v1/nodes", id: "listNodes", scope: "read" },
    summary: "all nodes that are expected, there or lately lost",
    answers: { 200: Type.Object({ nodes: Type.Array(NodeStatus) }) },
    run: (manager) => ({
      status: 200,
      body: { nodes: manager.registry.nodes().map((node) => statusOf(manager, node)) },
    }),
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes", id: "addNode", scope: "admin" },
    summary: "expect a node, before or after it connects",
    body: NewNode,
    answers: { 200: NodeStatus, 201: NodeStatus },
    run: (manager, { body }) => expectNode(manager, body),
  }),
  operation({
    ...{ method: "GET", path: "/v1/nodes/{name}", id: "getNode", scope: "read" },
    summary: "one node",
    answers: { 200: NodeStatus },
    run: (manager, { name }) => ({
      status: 200,
      body: nodeCalled(manager, nameOf(manager.registry, name)),
    }),
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}", id: "addNamedNode", scope: "admin" },
    summary: "expect a node of this name, before or after it connects",
    body: NamedNode,
    answers: { 200: NodeStatus, 201: NodeStatus },
    run: (manager, { name, body }) => expectNode(manager, checked(NewNode, { ...body, name })),
  }),
  operation({
    ...{ method: "DELETE", path: "/v1/nodes/{name}", id: "removeNode", scope: "admin" },
    summary: "take a node out of the cluster",
    answers: { 204: null },
    run({ registry, server }, { name }) {
      if (!server.remove(nameOf(registry, name))) throw noNode(name);
      return { status: 204 };
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}/readmit", id: "readmitNode", scope: "admin" },
    summary: "let a node come again that was taken out of the cluster",
    answers: { 204: null },
    run({ server }, { name }) {
      if (server.readmit(name) !== undefined) return { status: 204 };
      const shown = JSON.stringify(name.slice(0, 128));
      throw new HttpError(
        404,
        "RFAAS_NOT_FOUND",
        `no node ${shown} was taken out, and one that runs comes by itself; see rfaas node ls (GET /v1/nodes)`,
      );
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}/drain", id: "drainNode", scope: "admin" },
    summary: "grant no more leases on a node, and end those it has by the deadline",
    body: Drain,
    answers: { 202: NodeStatus },
    run(manager, { name: asked, body }) {
      const name = nameOf(manager.registry, asked);
      if (!manager.server.drain(name, body.deadlineMs ?? DEFAULT_DRAIN_MS)) throw noNode(name);
      return { status: 202, body: nodeCalled(manager, name) };
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}/resume", id: "resumeNode", scope: "admin" },
    summary: "let a node serve again",
    answers: { 202: NodeStatus },
    run(manager, { name: asked }) {
      const name = nameOf(manager.registry, asked);
      if (!manager.server.resume(name)) throw noNode(name);
      return { status: 202, body: nodeCalled(manager, name) };
    },
  }),
  operation({
    ...{ method: "GET", path: "/v1/leases", id: "listLeases", scope: "read" },
    summary:
      "the leases that go on, and what they have used so far; a token that takes leases shows its user's",
    answers: { 200: Type.Object({ leases: Type.Array(UsageReport) }) },
    run: ({ server }, { viewer }) => ({
      status: 200,
      body: { leases: leasesFor(viewer, server.leases()) },
    }),
  }),
  operation({
    ...{ method: "GET", path: "/v1/bill", id: "getBill", scope: "bill" },
    summary:
      "what users owe for the leases that started in a period; a token that takes leases, or has the scope bill alone, shows its user's",
    query: BillQuery,
    answers: { 200: Bill },
    run: ({ ledger, prices }, { query: { user, project, since, until }, viewer }) => ({
      status: 200,
      body: billOf(ledger, prices, {
        user: billedFor(viewer, user),
        project,
        sinceMs: momentOf(since, "since"),
        untilMs: momentOf(until, "until"),
      }),
    }),
  }),
  ...TOKEN_OPERATIONS,
  ...USER_OPERATIONS,
  operation({
    ...{ method: "GET", path: "/healthz", id: "getHealth", scope: null },
    summary: "whether the manager can do its work",
    answers: { 200: Health, 503: Health },
    run({ registry, ledger, role }) {
      const { failure } = ledger;
      const { standsBy, leader, registry: shared } = role?.() ?? { standsBy: undefined };
      const fails = failure !== null || (shared ?? "ok") !== "ok";
      const health = {
        ...{ status: fails ? "degraded" : "ok", version: VERSION, nodes: registry.size },
        ...{ ledger: failure?.code ?? "ok", role: standsBy === undefined ? "leader" : "standby" },
        ...(leader === undefined ? {} : { leader }),
        ...(shared === undefined ? {} : { registry: shared }),
      };
      return { status: fails ? 503 : 200, body: health };
    },
  }),
];

/** Whose bill it is, when a viewer asks for that of `user`, or for all. */
function billedFor(viewer: Viewer | undefined, user: string | undefined): string | undefined {
  if (!viewer || viewer.seesAll) return user;
  if (user === undefined || user === viewer.user) return viewer.user;
  throw new HttpError(
    403,
    "RFAAS_TOKEN",
    `the token of ${viewer.user} shows no bill but his own; ask for one with --scope read alone, or admin`,
    { path: "/user" },
  );
}

function expectNode(
  manager: Manager,
  { name, address, cores = 0, memory = 0 }: Static<typeof NewNode>,
): Answer {
  const { registry, server } = manager;
  // Who names a node here means it, taken out or not.
  server.readmit(name);
  const known = registry.get(name) !== undefined;
  const problem = registry.expect({ name, address, cores, memoryBytes: memory });
  if (problem) throw new HttpError(503, "RFAAS_FULL", problem);
  return {
    status: known ? 200 : 201,
    body: nodeCalled(manager, name),
    headers: { location: `/v1/nodes/${encodeURIComponent(name)}` },
  };
}

function nodeCalled(manager: Manager, name: string): NodeStatus {
  const node = manager.registry.get(name);
  if (!node) throw noNode(name);
  return statusOf(manager, node);
}

/** Of the node that is called so, or is found there. Where there is none, the text itself. */
function nameOf(registry: Manager["registry"], text: string): string {
  const [name = text, ...others] = registry.find(text);
  if (others.length === 0) return name;
  throw new HttpError(
    409,
    "RFAAS_USAGE",
    `at ${text} are ${[name, ...others].join(", ")}: nodes of several machines; say which by its name`,
  );
}

function statusOf({ server }: Manager, node: NodeInfo): NodeStatus {
  return { ...node, ...server.ledgerOf(node.name) };
}

function noNode(name: string): HttpError {
  const shown = JSON.stringify(name.slice(0, 128));
  return new HttpError(
    404,
    "RFAAS_NOT_FOUND",
    `there is no node ${shown}; see rfaas node ls (GET /v1/nodes)`,
  );
}

function momentOf(text: string | undefined, field: string): number | undefined {
  if (text === undefined) return undefined;
  try {
    return parseMoment(text, field, Date.now());
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new HttpError(400, error.code, error.message, { path: `/${field}` });
  }
}
