/** The machine-readable description of the manager's HTTP interface: OpenAPI 3.1, made from the schemas that check requests. */
import { type TObject, type TSchema, TypeGuard } from "@sinclair/typebox";
import { VERSION } from "../../base/version.ts";
import type { Operation } from "./operation.ts";
import { OPERATIONS } from "./routes.ts";
import { COMPONENTS, ErrorAnswer } from "./schemas.ts";

const MEANINGS: Record<number, string> = {
  200: "done",
  201: "new",
  202: "asked for",
  204: "gone",
  400: "the request is wrong; `path` names the field",
  401: "a token is needed, or this one is not good",
  403: "the token is not for this",
  404: "there is none of that name",
  413: "the body is too large",
  503: "not at present",
};

/** The document, as plain JSON values. */
export function openApi(): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS)
    (paths[operation.path] ??= {})[operation.method.toLowerCase()] = describe(operation);
  const schemas = [...COMPONENTS].map(([schema, name]) => [name, { ...schema }]);
  const document = {
    openapi: "3.1.0",
    info: {
      title: "rfaas manager",
      version: VERSION,
      description: "Nodes, leases and bills of a cluster. Leases themselves are taken from nodes.",
    },
    paths,
    components: {
      schemas: Object.fromEntries(schemas),
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
  };
  return JSON.parse(JSON.stringify(document, referring)) as unknown;
}

/** Schemas with a name are written once; the copies under `components` are other objects. */
function referring(_: string, value: unknown): unknown {
  const name = COMPONENTS.get(value as TSchema);
  return name === undefined ? value : { $ref: `#/components/schemas/${name}` };
}

function describe(operation: Operation): unknown {
  const { id, summary, scope, query, body, path, answers } = operation;
  const good = Object.entries(answers).map(([status, schema]) => [
    status,
    { description: MEANINGS[Number(status)], ...(schema ? { content: json(schema) } : {}) },
  ]);
  const bad = errorsOf(operation)
    .filter((status) => answers[status] === undefined)
    .map((status) => [status, { description: MEANINGS[status], content: json(ErrorAnswer) }]);
  return {
    operationId: id,
    summary,
    // A scheme of the type http has no scopes in the sense of OpenAPI, but 3.1 lets it name roles.
    security: scope === null ? [] : [{ token: [scope] }],
    parameters: [
      ...(path.includes("{name}")
        ? [{ name: "name", in: "path", required: true, schema: { type: "string" } }]
        : []),
      ...(query ? Object.entries(query.properties).map(queryParameter) : []),
    ],
    ...(body ? { requestBody: { required: isRequired(body), content: json(body) } } : {}),
    responses: Object.fromEntries([...good, ...bad]),
  };
}

function queryParameter([name, schema]: [string, TSchema]): unknown {
  return { name, in: "query", required: !TypeGuard.IsOptional(schema), schema };
}

function errorsOf({ scope, method, path, id }: Operation): number[] {
  return [
    400,
    ...(scope === null ? [] : [401, 403, 503]),
    ...(path.includes("{name}") && id !== "addNamedNode" ? [404] : []),
    ...(method === "GET" ? [] : [413]),
  ];
}

function isRequired(body: TObject): boolean {
  return Object.values(body.properties).some((schema) => !TypeGuard.IsOptional(schema));
}

const json = (schema: TSchema) => ({ "application/json": { schema } });
