/** What the manager's HTTP interface can do: each operation with the schemas that check its requests and describe it to programs. */
import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../../base/errors.ts";
import {
  MAX_NODE_CORES,
  MAX_NODE_MEMORY_BYTES,
  NodeInfo,
  NodeName,
  UsageReport,
} from "../../protocol/manager-messages.ts";
import type { Scope } from "../../protocol/token.ts";
import { parseMoment } from "../../base/units.ts";
import { VERSION } from "../../base/version.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Admitted } from "../tokens/keys.ts";
import { Prices, price } from "../ledger/prices.ts";
import type { Registry } from "../nodes/registry.ts";

/** What a node that is to be empty gets when nothing is said. */
export const DEFAULT_DRAIN_MS = 30_000;

/** How what a node's leases use comes to the ledger while they go on; what begins and ends always comes by message. */
export const NodeLedger = Type.Object({
  ledger: Type.Union([Type.Literal("verbs"), Type.Literal("messages")], {
    description: "by remote atomics of the node, or by message",
  }),
  ledgerAdds: Type.Integer({
    minimum: 0,
    description: "how often a counter was found raised by the node, since it connected",
  }),
  usageMessages: Type.Integer({
    minimum: 0,
    description: "how many messages with bills the node has sent, since it connected",
  }),
});
export type NodeLedger = Static<typeof NodeLedger>;

/** A node as operators see it. */
export const NodeStatus = Type.Composite([NodeInfo, NodeLedger]);
export type NodeStatus = Static<typeof NodeStatus>;

/** What the operations ask of the manager's connections to nodes. */
export interface NodeControl {
  ledgerOf(name: string): NodeLedger;
  drain(name: string, deadlineMs: number): boolean;
  resume(name: string): boolean;
  remove(name: string): boolean;
  /** The newest report of each lease that goes on. */
  leases(): UsageReport[];
}

export interface Manager {
  registry: Registry;
  ledger: Pick<Ledger, "bill" | "failure">;
  server: NodeControl;
  prices: Prices;
}

/** A request that is answered with an error: `message` says what is wrong and what to do. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  /** The wrong field. */
  readonly path: string | undefined;
  readonly headers: Record<string, string>;
  constructor(
    status: number,
    code: string,
    message: string,
    { path, headers = {} }: { path?: string; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.path = path;
    this.headers = headers;
  }
}

export const ErrorAnswer = Type.Object({
  error: Type.Object({
    code: Type.String(),
    /** Says what to do. */
    message: Type.String(),
    path: Type.Optional(Type.String({ description: "JSON pointer to the wrong field" })),
  }),
});

/** An integer that may be more than a JavaScript number holds exactly. */
const bigCount = Type.Unsafe<bigint>(Type.Integer({ minimum: 0 }));

export const Bill = Type.Object({
  prices: Prices,
  total: Type.Number({ minimum: 0 }),
  rows: Type.Array(
    Type.Object({
      user: Type.String(),
      leases: Type.Integer({ minimum: 0 }),
      live: Type.Integer({ minimum: 0, description: "leases that have not ended" }),
      allocationCoreNs: bigCount,
      executionNs: bigCount,
      pollingNs: bigCount,
      calls: bigCount,
      bytes: bigCount,
      cost: Type.Number({ minimum: 0 }),
    }),
  ),
});
export type Bill = Static<typeof Bill>;

const exact = { additionalProperties: false } as const;
const described = {
  address: Type.String({
    minLength: 1,
    maxLength: 256,
    description: "where its agent listens: HOST:PORT or a socket path",
  }),
  cores: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NODE_CORES })),
  memory: Type.Optional(
    Type.Integer({ minimum: 0, maximum: MAX_NODE_MEMORY_BYTES, description: "bytes" }),
  ),
};
const NewNode = Type.Object({ name: NodeName, ...described }, exact);
const NamedNode = Type.Object(described, exact);
const Drain = Type.Object(
  {
    deadlineMs: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 0xffffffff, default: DEFAULT_DRAIN_MS }),
    ),
  },
  exact,
);
const Nothing = Type.Object({}, exact);
const moment = Type.String({
  maxLength: 64,
  description: "a date, a time such as 2026-03-01T12:00:00Z, or how long ago, such as 7d",
});
const BillQuery = Type.Object(
  {
    user: Type.Optional(Type.String({ maxLength: 256 })),
    since: Type.Optional(moment),
    until: Type.Optional(moment),
  },
  exact,
);
const Health = Type.Object({
  status: Type.Union([Type.Literal("ok"), Type.Literal("degraded")]),
  version: Type.String(),
  nodes: Type.Integer({ minimum: 0 }),
  ledger: Type.String({ description: "ok, or the code of what is wrong" }),
});

/** Schemas that get a name in the description. */
export const COMPONENTS: ReadonlyMap<TSchema, string> = new Map<TSchema, string>([
  [NodeStatus, "Node"],
  [UsageReport, "Lease"],
  [Bill, "Bill"],
  [Prices, "Prices"],
  [ErrorAnswer, "Error"],
]);

export type Method = "GET" | "POST" | "DELETE";

export interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

/** A request, not yet checked. */
export interface RawInput {
  name: string;
  query: Record<string, string>;
  body: unknown;
  /** Who asks; undefined where nobody was asked who he is. */
  viewer: Viewer | undefined;
}

/** Whoever looks at leases and bills: at all, or at his own. */
export type Viewer = Pick<Admitted, "user" | "seesAll">;

export interface Operation {
  method: Method;
  /** With `{name}` for the name of a node. */
  path: string;
  id: string;
  summary: string;
  /** What the token must be good for; null when anybody may. */
  scope: Scope | null;
  query: TObject | undefined;
  body: TObject | undefined;
  /** What comes back when it goes well, by status. */
  answers: Record<number, TSchema | null>;
  run(manager: Manager, input: RawInput): Answer;
}

interface Specification<Query extends TObject, Body extends TObject> extends Omit<
  Operation,
  "query" | "body" | "run"
> {
  query?: Query;
  body?: Body;
  run(
    manager: Manager,
    input: {
      name: string;
      query: Static<Query>;
      body: Static<Body>;
      viewer: Viewer | undefined;
    },
  ): Answer;
}

function operation<Query extends TObject, Body extends TObject>(
  specification: Specification<Query, Body>,
): Operation {
  const { query, body, run, ...rest } = specification;
  return {
    ...rest,
    query,
    body,
    run: (manager, input) =>
      run(manager, {
        name: input.name,
        viewer: input.viewer,
        query: checked(query ?? Nothing, input.query) as Static<Query>,
        body: checked(body ?? Nothing, input.body) as Static<Body>,
      }),
  };
}

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
    run: (manager, { name }) => ({ status: 200, body: nodeCalled(manager, name) }),
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
    run({ server }, { name }) {
      if (!server.remove(name)) throw noNode(name);
      return { status: 204 };
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}/drain", id: "drainNode", scope: "admin" },
    summary: "grant no more leases on a node, and end those it has by the deadline",
    body: Drain,
    answers: { 202: NodeStatus },
    run(manager, { name, body }) {
      if (!manager.server.drain(name, body.deadlineMs ?? DEFAULT_DRAIN_MS)) throw noNode(name);
      return { status: 202, body: nodeCalled(manager, name) };
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/nodes/{name}/resume", id: "resumeNode", scope: "admin" },
    summary: "let a node serve again",
    answers: { 202: NodeStatus },
    run(manager, { name }) {
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
    ...{ method: "GET", path: "/v1/bill", id: "getBill", scope: "read" },
    summary:
      "what users owe for the leases that started in a period; a token that takes leases shows its user's",
    query: BillQuery,
    answers: { 200: Bill },
    run: ({ ledger, prices }, { query: { user, since, until }, viewer }) => ({
      status: 200,
      body: billOf(ledger, prices, {
        user: billedFor(viewer, user),
        sinceMs: momentOf(since, "since"),
        untilMs: momentOf(until, "until"),
      }),
    }),
  }),
  operation({
    ...{ method: "GET", path: "/healthz", id: "getHealth", scope: null },
    summary: "whether the manager can do its work",
    answers: { 200: Health, 503: Health },
    run({ registry, ledger }) {
      const { failure } = ledger;
      const status = failure ? "degraded" : "ok";
      const health = { status, version: VERSION, nodes: registry.size };
      return { status: failure ? 503 : 200, body: { ...health, ledger: failure?.code ?? "ok" } };
    },
  }),
];

/** The leases that a viewer may see. */
export function leasesFor(viewer: Viewer | undefined, leases: UsageReport[]): UsageReport[] {
  return viewer?.seesAll ? leases : leases.filter(({ user }) => user === viewer?.user);
}

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

/** The rows of a bill with what they cost. */
export function billOf(
  ledger: Pick<Ledger, "bill">,
  prices: Prices,
  query: Parameters<Ledger["bill"]>[0],
): Bill {
  const rows = ledger.bill(query).map((row) => ({ ...row, cost: price(row, prices) }));
  return { prices, rows, total: rows.reduce((sum, { cost }) => sum + cost, 0) };
}

/** JSON in which a `bigint` is an integer with all its digits. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === "bigint" ? exactJson.rawJSON(item.toString()) : item,
  );
}
const exactJson = JSON as unknown as { rawJSON(text: string): unknown };

function expectNode(
  manager: Manager,
  { name, address, cores = 0, memory = 0 }: Static<typeof NewNode>,
): Answer {
  const { registry } = manager;
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

function statusOf({ server }: Manager, node: NodeInfo): NodeStatus {
  return { ...node, ...server.ledgerOf(node.name) };
}

function noNode(name: string): HttpError {
  const shown = JSON.stringify(name.slice(0, 128));
  return new HttpError(404, "RFAAS_NOT_FOUND", `there is no node ${shown}; see GET /v1/nodes`);
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

/** The value, known to fit the schema; a 400 that names the wrong field otherwise. */
function checked<Schema extends TSchema>(schema: Schema, value: unknown): Static<Schema> {
  const wrong = Value.Errors(schema, value).First();
  if (!wrong) return value as Static<Schema>;
  const path = wrong.path || "/";
  throw new HttpError(
    400,
    "RFAAS_USAGE",
    `the request is wrong at ${path}: ${wrong.message}; see /openapi.json`,
    { path },
  );
}
