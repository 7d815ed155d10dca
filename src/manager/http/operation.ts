/** An operation of the manager's HTTP interface: what is asked, who may ask, what comes back, and what it does. */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { Scope } from "../../protocol/token.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { NodeLedger } from "../ledger/node-ledger.ts";
import type { Prices } from "../ledger/prices.ts";
import type { Registry } from "../nodes/registry.ts";
import type { UserLimits } from "../../protocol/tokens/limits.ts";
import type { QuotaDesk } from "../peers/quota-desk.ts";
import type { Records } from "../state/records.ts";
import type { TokenTables } from "../tokens/tables.ts";
import type { Viewer } from "../tokens/viewer.ts";
import { Nothing } from "./schemas.ts";

/** What the operations ask of the manager's connections to nodes. */
export interface NodeControl {
  ledgerOf(name: string): NodeLedger;
  drain(name: string, deadlineMs: number): boolean;
  resume(name: string): boolean;
  remove(name: string): boolean;
  readmit(text: string): string | undefined;
  /** The newest report of each lease that goes on. */
  leases(): UsageReport[];
  /** What users hold; left out, that is not counted. */
  readonly quotas?: Pick<QuotaDesk, "statusOf" | "quotas"> | undefined;
}

/** Whether this manager acts for its cluster. */
export interface ManagerRole {
  /** Why it does not; undefined when it does. */
  standsBy: string | undefined;
  leader?: string | undefined;
  /** Of what managers share; left out where there is nothing. */
  registry?: string | undefined;
}

export interface Manager {
  registry: Registry;
  ledger: Pick<Ledger, "bill" | "failure">;
  server: NodeControl;
  /** What was issued and revoked. */
  issued: Pick<TokenTables, "list" | "revoke">;
  /** What users may hold. */
  limits: Pick<Records<UserLimits>, "all" | "change">;
  prices: Prices;
  /** Resolves once what was changed is known to managers that share it. Left out, there are none. */
  settle?: (() => Promise<void>) | undefined;
  /** Left out, it is the only one. */
  role?: (() => ManagerRole) | undefined;
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
  /** Who asks; undefined where the manager did not ask for a token. */
  viewer: Viewer | undefined;
}

export interface Operation {
  method: Method;
  /** With `{name}` for the name of a node, or where it is found. */
  path: string;
  id: string;
  summary: string;
  /** The scope that the token must have; null when the operation needs no token. */
  scope: Scope | null;
  query: TObject | undefined;
  body: TObject | undefined;
  /** What comes back when it goes well, by status. */
  answers: Record<number, TSchema | null>;
  run(manager: Manager, input: RawInput): Answer | Promise<Answer>;
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
  ): Answer | Promise<Answer>;
}

/** An operation whose query and body are checked before it runs. */
export function operation<Query extends TObject, Body extends TObject>(
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

/** The value, known to fit the schema; a 400 that names the wrong field otherwise. */
export function checked<Schema extends TSchema>(schema: Schema, value: unknown): Static<Schema> {
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
