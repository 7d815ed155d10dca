/** `rfaas manager`: the node registry, the ledger and their HTTP interface, until a signal ends it. */
import { Type } from "@sinclair/typebox";
import { readNodeList } from "../client/cluster/node-list.ts";
import { formatAddress, foundAt, parseAddress } from "../control/address.ts";
import { UsageError } from "../base/errors.ts";
import { type HttpServer, startHttp } from "../manager/http/server.ts";
import { CurrentKey } from "../manager/tokens/current-key.ts";
import type { TokenCheck } from "../manager/tokens/keys.ts";
import { Ledger } from "../manager/ledger/ledger.ts";
import { readPrices } from "../manager/ledger/prices.ts";
import { Registry } from "../manager/nodes/registry.ts";
import { RemoteCounters } from "../manager/ledger/remote-counters.ts";
import { ManagerServer } from "../manager/server.ts";
import { createStateDir, defaultStateDir, ledgerPath } from "../manager/state/state.ts";
import { keepWishes } from "../manager/nodes/wishes.ts";
import { tcpAddress } from "../options/fields.ts";
import { defineCommand } from "./shared/command.ts";
import { pathField, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";

const DEFAULT_LISTEN = "127.0.0.1:7800";

export const manager = defineCommand({
  usage: "manager",
  summary: "run a cluster's manager",
  description: `Knows which nodes there are, tells clients within a moment when one joins, fills up, drains or dies, and keeps the bills. It
grants no leases: nodes do, and they and their clients go on without it. Runs until SIGTERM or SIGINT. Where it has an RDMA
device, nodes that have one add what leases use to its memory by remote atomics; others send messages.

With a key in its state directory (rfaas token create makes one, at any time) it asks nodes and clients for tokens. Without one
it serves every node and client that reaches its port, and takes changes over HTTP only from programs of its own user, over
loopback and through no proxy.`,
  options: Type.Object({
    listen: Type.Optional(
      tcpAddress("HOST:PORT", { description: "HOST:PORT", default: DEFAULT_LISTEN }),
    ),
    http: Type.Optional(
      tcpAddress("HOST:PORT", {
        description: "HOST:PORT of the HTTP interface",
        otherwise: "none",
      }),
    ),
    ...stateField("where key and ledger are"),
    nodes: pathField("file", {
      description: "nodes to expect, in JSON, also the original rFaaS's list of executors",
    }),
    prices: pathField("file", { description: "JSON file of prices; see: rfaas help bill" }),
  }),
  examples: [
    ["rfaas manager", "on this machine alone"],
    ["rfaas manager --listen 10.0.0.1:7800 --http 10.0.0.1:7801", "for a cluster"],
    ["rfaas manager --nodes nodes.json --state /var/lib/rfaas", "with nodes that are expected"],
  ],
  async run(_args, options) {
    const listen = formatAddress(parseAddress(options.listen ?? DEFAULT_LISTEN));
    const registry = new Registry();
    const prices = options.prices === undefined ? undefined : readPrices(options.prices);
    const { state = defaultStateDir() } = options;
    createStateDir(state);
    keepWishes(registry, state, (message) => log.warn(message));
    if (options.nodes !== undefined) expectNodes(registry, options.nodes);
    const tokens = new CurrentKey(state, (message) => log.warn(message));
    const ledger = Ledger.open(ledgerPath(state));
    const shared = {
      registry,
      ledger,
      tokens,
      log: (level: "info" | "warn", message: string) => log[level](message),
    };
    let server: ManagerServer | undefined;
    let http: HttpServer | undefined;
    try {
      server = new ManagerServer(listen, shared);
      if (options.http !== undefined)
        http = await startHttp({
          ...shared,
          listen: formatAddress(parseAddress(options.http)),
          server,
          ...(prices ? { prices } : {}),
        });
    } catch (error) {
      tokens[Symbol.dispose]();
      server?.close();
      ledger.close();
      throw error;
    }
    closeOnSignal(server, http, ledger);
    announce(server, http, tokens, state);
    tokens.onChange(() => {
      log.info("there is a new key: nodes and clients need tokens that it has signed");
      server.reconnectAll();
    });
  },
});

function expectNodes(registry: Registry, path: string): void {
  for (const { name, address, cores = 0, memoryBytes = 0 } of readNodeList(path)) {
    const problem = registry.expect({ name, address, cores, memoryBytes });
    if (problem) throw new UsageError(`${path} has a node ${name} that cannot be: ${problem}`);
  }
}

function announce(
  server: ManagerServer,
  http: HttpServer | undefined,
  tokens: TokenCheck,
  state: string,
): void {
  log.info(`managing at ${server.address}${http ? ` and ${http.url}` : ""}, state in ${state}`);
  log.info(`add a node with: rfaas serve --manager ${foundAt(parseAddress(server.address))}`);
  log.info(RemoteCounters.describe());
  if (tokens.publicKey === null)
    log.info("there is no key: any program that reaches the port may be a node or a client");
}

function closeOnSignal(server: ManagerServer, http: HttpServer | undefined, ledger: Ledger): void {
  let signals = 0;
  const onSignal = async (signal: string) => {
    if (++signals > 1) process.exit(0);
    log.info(`${signal}: stopping`);
    server.close();
    await http?.stop();
    ledger.close();
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void onSignal(signal));
  process.on("SIGINT", (signal) => void onSignal(signal));
}
