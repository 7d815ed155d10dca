/**
 * A cluster without a manager: the list of its nodes in a file. Ours is `{"nodes": [{"address": "10.0.0.5:7700"}]}` or an array of
 * addresses; the executor list of the original rFaaS is read as it is.
 */
import { readFileSync } from "node:fs";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value, type ValueError } from "@sinclair/typebox/value";
import { formatAddress, parseAddress } from "../../control/address.ts";
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import {
  MAX_NODE_CORES,
  MAX_NODE_MEMORY_BYTES,
  MAX_NODE_NAME_CHARACTERS,
  NODE_NAME_PATTERN,
} from "../../protocol/manager-messages.ts";
import { parseBytes } from "../../base/units.ts";

/** A node of a list. `cores` and `memoryBytes` are what it is said to have; what it has free it tells itself. */
export interface ListedNode {
  name: string;
  /** A socket path or `HOST:PORT`. */
  address: string;
  cores?: number;
  memoryBytes?: number;
}

/** Of a wrong value, in a message. */
const SHOWN_CHARACTERS = 80;
const MAX_LISTED_NODES = 100_000;
/** The original counts memory in these. */
const MIB = 1024 * 1024;

const name = Type.String({
  minLength: 1,
  maxLength: MAX_NODE_NAME_CHARACTERS,
  pattern: NODE_NAME_PATTERN,
  errorMessage: "must be a name of letters, digits, and . _ : -",
});
const address = Type.String({
  minLength: 1,
  errorMessage: "must be an address such as 10.0.0.5:7700 or /run/rfaas.sock",
});
const cores = Type.Integer({
  minimum: 0,
  maximum: MAX_NODE_CORES,
  errorMessage: `must be a whole number from 0 to ${MAX_NODE_CORES}`,
});
const memory = Type.Union([Type.String(), Type.Number({ minimum: 0 })], {
  errorMessage: "must be a size such as 16GiB",
});
const list = <Entry extends TSchema>(entry: Entry, what: string) =>
  Type.Array(entry, {
    minItems: 1,
    maxItems: MAX_LISTED_NODES,
    errorMessage: `must be a list of one ${what} or more`,
  });

/** Unknown fields are let through: lists have comments and other people's notes. */
const OwnNode = Type.Object(
  {
    name: Type.Optional(name),
    address,
    cores: Type.Optional(cores),
    memory: Type.Optional(memory),
  },
  { errorMessage: 'must be an object such as {"address": "10.0.0.5:7700"}' },
);
const Own = Type.Object({ nodes: list(OwnNode, "node") });
const Addresses = list(address, "address");

const Executor = Type.Object(
  {
    node: Type.Optional(Type.String({ errorMessage: "must be a node's name" })),
    address: Type.String({ minLength: 1, errorMessage: "must be an IP address or a host's name" }),
    port: Type.Integer({
      minimum: 1,
      maximum: 65535,
      errorMessage: "must be a whole number from 1 to 65535",
    }),
    cores: Type.Optional(cores),
    /** In MiB. */
    memory: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MAX_NODE_MEMORY_BYTES / MIB,
        errorMessage: "must be a whole number of MiB",
      }),
    ),
  },
  { errorMessage: "must be an object that describes an executor" },
);
const Executors = Type.Object({ executors: list(Executor, "executor") });

/**
 * The nodes of a list, in its order, each name and each address once.
 *
 * @throws {EnvironmentError} when the file cannot be read
 * @throws {UsageError} when it is no JSON, or a field is missing or wrong; the message names the file and the field
 */
export function readNodeList(path: string): ListedNode[] {
  return parseNodeList(read(path), path);
}

/** As {@link readNodeList}, of the text of a list; `source` names it in errors. */
export function parseNodeList(json: string, source: string): ListedNode[] {
  const content = parse(json, source);
  const nodes = Array.isArray(content)
    ? fromAddresses(checked(Addresses, content, source), source)
    : isObject(content) && "executors" in content
      ? fromExecutors(checked(Executors, content, source), source)
      : isObject(content)
        ? fromOwn(checked(Own, content, source), source)
        : refuseOther(content, source);
  requireDistinct(nodes, source);
  return nodes;
}

/** The nodes of a list of addresses that a program gives. Throws {@link UsageError}. */
export function nodesFromAddresses(addresses: readonly string[]): ListedNode[] {
  return parseNodeList(JSON.stringify(addresses), "given as nodes");
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

function fromAddresses(addresses: Static<typeof Addresses>, source: string): ListedNode[] {
  return addresses.map((address, i) => {
    const checked = checkedAddress(address, `[${i}]`, source);
    return { name: checked, address: checked };
  });
}

function fromOwn({ nodes }: Static<typeof Own>, source: string): ListedNode[] {
  return nodes.map((node, i) => {
    const address = checkedAddress(node.address, `nodes[${i}].address`, source);
    return {
      name: node.name ?? address,
      address,
      ...(node.cores === undefined ? {} : { cores: node.cores }),
      ...(node.memory === undefined
        ? {}
        : { memoryBytes: checkedBytes(node.memory, `nodes[${i}].memory`, source) }),
    };
  });
}

function fromExecutors({ executors }: Static<typeof Executors>, source: string): ListedNode[] {
  return executors.map(({ node, address: host, port, cores, memory }, i) => {
    const shown = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    const address = checkedAddress(shown, `executors[${i}].address`, source);
    return {
      name: node === undefined || node === "" ? address : node,
      address,
      ...(cores === undefined ? {} : { cores }),
      ...(memory === undefined ? {} : { memoryBytes: memory * MIB }),
    };
  });
}

function checkedAddress(address: string, field: string, source: string): string {
  try {
    return formatAddress(parseAddress(address));
  } catch (error) {
    throw wrong(source, field, (error as Error).message, { cause: error });
  }
}

function checkedBytes(memory: string | number, field: string, source: string): number {
  if (memory === 0) return 0;
  try {
    return parseBytes(memory, "it");
  } catch (error) {
    throw wrong(
      source,
      field,
      `must be a size such as 16GiB and is ${show(memory)}; correct it there`,
      { cause: error },
    );
  }
}

/** A name or an address that is there twice would be asked twice, and its cores counted twice. */
function requireDistinct(nodes: readonly ListedNode[], source: string): void {
  for (const key of ["name", "address"] as const) {
    const seen = new Set<string>();
    for (const node of nodes) {
      if (seen.has(node[key]))
        throw new UsageError(
          `the list of nodes ${source} has two nodes with the ${key} ${node[key]}; remove one of them`,
        );
      seen.add(node[key]);
    }
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EnvironmentError(
      `cannot read the list of nodes ${path}: ${reasonOf(cause)}; name a readable file`,
      { cause },
    );
  }
}

function parse(json: string, source: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new UsageError(
      `the list of nodes ${source} is not JSON: ${(cause as Error).message}; correct it there`,
      { cause },
    );
  }
}

function checked<Schema extends TSchema>(
  schema: Schema,
  content: unknown,
  source: string,
): Static<Schema> {
  if (Value.Check(schema, content)) return content;
  throw wrongValue(source, Value.Errors(schema, content).First());
}

function wrongValue(source: string, error: ValueError | undefined): UsageError {
  const schema: TSchema | undefined = error?.schema;
  const message: unknown = schema?.["errorMessage"];
  // `/nodes/0/address` is `nodes[0].address`.
  const field = (error?.path ?? "")
    .slice(1)
    .replace(/(^|\/)(\d+)/g, "[$2]")
    .replaceAll("/", ".");
  const [found, remedy] =
    error?.value === undefined
      ? ["is missing", "add it"]
      : [`is ${show(error.value)}`, "correct it"];
  return wrong(
    source,
    field,
    `${typeof message === "string" ? message : (error?.message ?? "is wrong")} and ${found}; ${remedy} there`,
  );
}

function refuseOther(content: unknown, source: string): never {
  throw wrong(
    source,
    "",
    `must be {"nodes": [...]} or a list of addresses and is ${show(content)}; correct it there`,
  );
}

const wrong = (source: string, field: string, message: string, options?: ErrorOptions) =>
  new UsageError(
    `the list of nodes ${source} is wrong: ${field === "" ? "it" : field} ${message}`,
    options,
  );

const show = (value: unknown): string => JSON.stringify(value).slice(0, SHOWN_CHARACTERS);
