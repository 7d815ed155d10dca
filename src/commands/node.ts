/** `rfaas node`: lets nodes join; empties them, brings them back, takes them out, by asking the manager. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ProtocolError, UsageError } from "../base/errors.ts";
import { parseAddress, placeOf } from "../control/address.ts";
import { DEFAULT_DRAIN_MS, NodeStatus } from "../manager/http/schemas.ts";
import { defaultStateDir } from "../manager/state/state.ts";
import { NODE_NAME_PATTERN } from "../protocol/manager-messages.ts";
import { formatBytes } from "../base/units.ts";
import { duration } from "../options/fields.ts";
import { forget, knownNodesFile } from "../trust/remembered-keys.ts";
import { DEFAULT_JOIN_TTL_MS, MAX_JOIN_TTL_MS, printJoinToken } from "./cluster/join-token.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { waitingOf } from "./cluster/waiting.ts";
import { type ManagerClient, managerAt, managerFields } from "./cluster/manager-client.ts";
import { Progress, progressFields } from "./shared/progress.ts";
import { printable, table } from "./shared/table.ts";

const MAX_DRAIN_MS = 0xffffffff;

const Options = Type.Object({
  deadlineMs: Type.Optional(
    duration(0, MAX_DRAIN_MS, {
      description: "for drain: how long leases may go on",
      default: DEFAULT_DRAIN_MS,
    }),
  ),
  ttlMs: Type.Optional(
    duration(1000, MAX_JOIN_TTL_MS, {
      description: "for join-token: how long it may be used",
      default: DEFAULT_JOIN_TTL_MS,
    }),
  ),
  ...stateField("for join-token: the manager's state"),
  ...managerFields,
  ...jsonField("for ls and join-token: one JSON object"),
  ...progressFields,
});
type Options = Static<typeof Options>;

const Nodes = Type.Object({ nodes: Type.Array(NodeStatus) });

const VERBS = ["drain", "resume", "remove", "readmit", "ls", "forget", "join-token"] as const;
type Verb = (typeof VERBS)[number];

export const node = defineCommand({
  usage: "node <drain|resume|remove|readmit|ls|forget|join-token> [name]",
  summary: "let in, empty, bring back, take out or list a cluster's nodes; forget a node's key",
  description: `join-token  makes a token that lets one node join, once, and prints the command to type on the node's machine; with a name it
            is for the node of that name, also where another machine has joined by it
drain       grants no more leases on the node; those it has may go on until the deadline, and are ended then
resume      lets it serve again
remove      takes it out of the cluster; leases that it granted go on. It stays out, when it starts again, too
readmit     lets a node come again that was taken out
ls          lists all nodes, or one; "reachable" is whether the manager reaches it where clients are told that it is: yes, or the reason
forget      forgets the key that was met at HOST:PORT, so that the next one that is met there is remembered

drain, resume, remove, readmit and ls take the name of the node, or the address at which it is found. They ask the manager, whose HTTP interface
must be on (rfaas manager --http HOST:PORT). join-token is for the manager's machine, where its state is. Where the manager has a key, all but ls want a token with the scope admin. Keys that were met are in
$XDG_CONFIG_HOME/rfaas/known_nodes, or ~/.config/rfaas/known_nodes.`,
  options: Options,
  examples: [
    ["rfaas node join-token", "prints the command by which another machine joins"],
    ["rfaas node ls --http 10.0.0.1:7801", "who is there, and what is free"],
    ["rfaas node drain rack1-07 --deadline 5m", "before its machine is needed for other things"],
    ["rfaas node resume rack1-07", "afterwards"],
    ["rfaas node readmit 10.0.0.5:7700", "brings back what rfaas node remove has taken out"],
    ["rfaas node forget 10.0.0.5:7700", "its key was changed on purpose"],
  ],
  completes: ([, name]) => (name === undefined ? "node" : undefined),
  async run(args, options) {
    const { verb, name } = readArguments(args, options);
    if (verb === "forget") return forgetKey(name!);
    if (verb === "join-token")
      return printJoinToken({ ...options, name, state: options.state ?? defaultStateDir() });
    const manager = managerAt(options);
    if (!manager)
      throw new UsageError("node needs the manager's address; give --http URL or set RFAAS_HTTP");
    using progress = Progress.of(options);
    progress.step("asking the manager");
    if (verb === "ls") return await list(manager, name, options.json ?? false, progress);
    const path = `/v1/nodes/${encodeURIComponent(name!)}`;
    if (verb === "remove") {
      await manager.ask("DELETE", path);
      log.info(`${name} is out of the cluster; let it come again with: rfaas node readmit ${name}`);
    } else if (verb === "readmit") {
      await manager.ask("POST", `${path}/readmit`);
      log.info(`${name} may come again`);
    } else if (verb === "resume") {
      await manager.ask("POST", `${path}/resume`);
      log.info(`${name} may serve again`);
    } else await drain(manager, name!, options);
  },
});

function readArguments(
  args: readonly string[],
  options: Options,
): { verb: Verb; name: string | undefined } {
  const [word, name, ...rest] = args;
  const verb = VERBS.find((known) => known === word);
  if (!verb || rest.length > 0)
    throw new UsageError(`node takes ${VERBS.join(", ")} and a name; see: rfaas help node`);
  if (verb === "join-token" && name !== undefined && !new RegExp(NODE_NAME_PATTERN).test(name))
    throw new UsageError(`a node's name is of letters, digits and . _ : -; it is "${name}"`);
  if (verb !== "ls" && verb !== "join-token" && !name)
    throw new UsageError(
      verb === "forget"
        ? "node forget needs the address of a node, HOST:PORT"
        : `node ${verb} needs the name or the address of a node`,
    );
  if (verb !== "drain" && options.deadlineMs !== undefined)
    throw new UsageError(`--deadline is for drain, not for ${verb}`);
  if (verb !== "join-token")
    for (const [name, given] of [
      ["ttl", options.ttlMs],
      ["state", options.state],
    ] as const)
      if (given !== undefined) throw new UsageError(`--${name} is for join-token, not for ${verb}`);
  if (verb !== "ls" && verb !== "join-token" && options.json)
    throw new UsageError(`--json is for ls and join-token, not for ${verb}`);
  return { verb, name };
}

function forgetKey(name: string): void {
  const address = parseAddress(name);
  if (address.kind === "unix")
    throw new UsageError(`node forget takes HOST:PORT; a socket such as ${name} has no key`);
  const place = placeOf(address);
  const file = knownNodesFile();
  const key = forget(place, file);
  if (key === undefined)
    throw new UsageError(`no key is remembered for ${place} in ${file}; see what is there`);
  log.info(`the key ${key} of ${place} is forgotten; the next one that is met there is remembered`);
}

async function drain(manager: ManagerClient, name: string, options: Options): Promise<void> {
  const { deadlineMs = DEFAULT_DRAIN_MS } = options;
  await manager.ask("POST", `/v1/nodes/${encodeURIComponent(name)}/drain`, { deadlineMs });
  log.info(`${name} drains; leases that are left in ${deadlineMs / 1000} s are ended`);
}

async function list(
  manager: ManagerClient,
  name: string | undefined,
  json: boolean,
  progress: Progress,
): Promise<void> {
  const nodes = parseNodes(await manager.ask("GET", "/v1/nodes"));
  const shown =
    name === undefined ? nodes : nodes.filter((one) => [one.name, one.address].includes(name));
  if (name !== undefined && shown.length === 0)
    throw new UsageError(`there is no node ${JSON.stringify(name)}; see: rfaas node ls`);
  progress.end();
  process.stdout.write(json ? `${JSON.stringify({ nodes: shown })}\n` : forPeople(shown));
}

function parseNodes(text: string): NodeStatus[] {
  try {
    const answer: unknown = JSON.parse(text);
    if (Value.Check(Nodes, answer)) return answer.nodes;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ProtocolError(
    "what answered has no list of nodes; is --http the address of an rfaas manager of this version?",
  );
}

function forPeople(nodes: readonly NodeStatus[]): string {
  const header = [
    "name",
    "state",
    "address",
    "free/cores",
    "free/memory",
    "leases",
    "kept",
    "waiting",
    "reachable",
    "fabrics",
  ];
  const lines = nodes.map((one) => [
    ...[one.name, one.state, one.address].map(printable),
    `${one.freeCores}/${one.cores}`,
    `${formatBytes(one.freeMemoryBytes)}/${formatBytes(one.memoryBytes)}`,
    String(one.leases),
    String(one.keptHosts ?? "-"),
    waitingOf(one, Date.now()),
    printable(one.reachable ?? "-"),
    printable(one.fabrics.join(",")),
  ]);
  return table([header, ...lines], 3);
}
