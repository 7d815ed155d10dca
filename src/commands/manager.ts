/** `rfaas manager`: the node registry, the ledger and their HTTP interface, until a signal ends it. */
import { resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { readNodeList } from "../client/cluster/node-list.ts";
import {
  type NetworkAddress,
  formatAddress,
  foundAt,
  isLoopback,
  parseAddress,
} from "../control/address.ts";
import { UsageError } from "../base/errors.ts";
import { DEFAULT_CERTIFICATE_TTL_MS } from "../manager/enrolment/authority.ts";
import type { Security, SecurityOptions } from "../manager/enrolment/security.ts";
import { type HttpServer, startHttp } from "../manager/http/server.ts";
import { CurrentKey } from "../manager/tokens/current-key.ts";
import type { TokenCheck } from "../manager/tokens/keys.ts";
import { Ledger } from "../manager/ledger/ledger.ts";
import { type Prices, readPrices } from "../manager/ledger/prices.ts";
import { Registry } from "../manager/nodes/registry.ts";
import { RemoteCounters } from "../manager/ledger/remote-counters.ts";
import { ManagerServer } from "../manager/server.ts";
import { keepManagerAddress } from "../manager/state/manager-address.ts";
import { createStateDir, defaultStateDir, ledgerPath } from "../manager/state/state.ts";
import { keepWishes } from "../manager/nodes/wishes.ts";
import type { CredentialFiles } from "../trust/credentials.ts";
import { whyOpenToOthers } from "../trust/files.ts";
import { takeState } from "../trust/state-lock.ts";
import { duration, tcpAddress, truth } from "../options/fields.ts";
import { defineCommand } from "./shared/command.ts";
import { keepSecrets } from "./serving/secrets.ts";
import { pathField, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { type Reloadable, reloadOnHangup } from "./shared/reload.ts";
import { printable } from "./shared/table.ts";

const DEFAULT_LISTEN = "127.0.0.1:7800";
const MIN_CERTIFICATE_TTL_MS = 1_000;
const MAX_CERTIFICATE_TTL_MS = 3650 * 86_400_000;
const DEFAULT_NODE_GRACE_MS = 60_000;
const MAX_NODE_GRACE_MS = 30 * 86_400_000;
const INSECURE =
  "--insecure: what other machines say to this manager goes in clear, so others may read and change it on the way; tokens that come so are refused. Leave --insecure out wherever you can";
const POLLING_IS_CHEAP =
  "--prices: a second of polling costs less than one of execution, and functions in native code can say that they polled while they computed; let both cost the same where you do not trust them";

export const manager = defineCommand({
  usage: "manager",
  summary: "run a cluster's manager",
  description: `Knows which nodes there are, tells clients within a moment when one joins, fills up, drains or dies, and keeps the bills. It
grants no leases: nodes do, and they and their clients go on without it. Runs until SIGTERM or SIGINT. SIGHUP ends nothing: it reads the
files of --nodes, --prices, --tls-cert and --tls-key and the key for tokens again, and keeps what it had where one is wrong; nodes that are
not in the list any more stay until rfaas node remove. Where it has an RDMA device, nodes that have one add what leases use to its
memory by remote atomics; others send messages.

Other machines are spoken with by TLS 1.3. A manager that listens beyond loopback makes a certificate authority in its state directory at its
first start, whose fingerprint its log has as a part of the manager's address: clients and nodes check by it with whom they speak. A
node joins with a token that rfaas node join-token prints, gets a certificate of its own, and renews it by itself. The HTTP interface
is HTTPS then; programs that know no fingerprints trust ca.pem of the state directory. --insecure does without all that.

With a key in its state directory (rfaas token create makes one, at any time) it asks nodes and clients for tokens. Without one
it serves every node and client that reaches its port, and takes changes over HTTP only from programs of its own user, over
loopback and through no proxy.`,
  options: Type.Object({
    listen: Type.Optional(
      tcpAddress("HOST:PORT", { description: "HOST:PORT", default: DEFAULT_LISTEN }),
    ),
    http: Type.Optional(
      tcpAddress("HOST:PORT", {
        description: "HOST:PORT of the HTTP interface; HTTPS beyond loopback",
        otherwise: "none",
      }),
    ),
    insecure: Type.Optional(
      truth({ description: "no TLS: other machines' connections are in clear" }),
    ),
    tlsCert: pathField("file", {
      description:
        "the site's certificate for the manager, in PEM, with what leads to its CA, and the CA",
      otherwise: "one of the cluster's own authority",
    }),
    tlsKey: pathField("file", { description: "with --tls-cert: the key of that certificate" }),
    certificateTtlMs: Type.Optional(
      duration(MIN_CERTIFICATE_TTL_MS, MAX_CERTIFICATE_TTL_MS, {
        description:
          "how long certificates of nodes and of the manager are good; they are renewed in time",
        default: DEFAULT_CERTIFICATE_TTL_MS,
      }),
    ),
    nodeGraceMs: Type.Optional(
      duration(1_000, MAX_NODE_GRACE_MS, {
        description:
          "how long a node may be away before its leases end in the ledger, with what it has said of them",
        default: DEFAULT_NODE_GRACE_MS,
      }),
    ),
    ...stateField("where keys and ledger are"),
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
    keepSecrets();
    const listen = networkAddress(options.listen ?? DEFAULT_LISTEN);
    const httpListen = options.http === undefined ? undefined : networkAddress(options.http);
    const registry = new Registry();
    const files: Reloadable[] = [];
    reloadOnHangup(files);
    const prices = pricesOf(options, files);
    const { state = defaultStateDir() } = options;
    createStateDir(state);
    const open = whyOpenToOthers(state);
    if (open !== undefined) log.warn(open);
    // For as long as this process lives.
    takeState(state, "manager");
    keepWishes(registry, state, (message) => log.warn(message));
    const { nodes } = options;
    if (nodes !== undefined) {
      expectNodes(registry, nodes);
      files.push({ what: "the nodes of --nodes", read: () => expectNodes(registry, nodes) });
    }
    const tokens = new CurrentKey(state, (message) => log.warn(message));
    files.push({ what: "the keys of tokens", read: () => tokens.readAgain() });
    const ledger = Ledger.open(ledgerPath(state));
    const shared = {
      registry,
      ledger,
      tokens,
      // What peers have said may stand in it.
      log: (level: "info" | "warn", message: string) => log[level](printable(message)),
    };
    let security: Security | undefined;
    let server: ManagerServer | undefined;
    let http: HttpServer | undefined;
    try {
      const reached = [listen, ...(httpListen ? [httpListen] : [])];
      if (reached.some(leavesMachine) && !options.insecure)
        security = await openSecurity({
          ...{ stateDir: state, listen: reached, log: shared.log, own: ownFiles(options) },
          certificateTtlMs: options.certificateTtlMs,
        });
      const { nodeGraceMs: graceMs = DEFAULT_NODE_GRACE_MS } = options;
      if (security?.readAgain)
        files.push({ what: "key and certificate", read: security.readAgain });
      server = new ManagerServer(formatAddress(listen), {
        ...{ ...shared, authority: security?.authority, lost: { ledger, graceMs } },
        ...securityAt(listen, security),
      });
      if (httpListen)
        http = await startHttp({
          ...shared,
          listen: formatAddress(httpListen),
          server,
          ...securityAt(httpListen, security),
          ...(prices ? { prices } : {}),
        });
    } catch (error) {
      tokens[Symbol.dispose]();
      server?.close();
      ledger.close();
      throw error;
    }
    closeOnSignal(server, http, ledger);
    announce(server, http, { security, tokens, state, listen });
    tokens.onChange(() => {
      log.info("there is a new key: nodes and clients need tokens that it has signed");
      server.reconnectAll();
    });
  },
});

/** Whether other machines reach what listens there. */
const leavesMachine = ({ host }: NetworkAddress): boolean => !isLoopback(host);

/** How what listens there speaks TLS: not at all where its connections do not leave the machine. */
function securityAt(
  address: NetworkAddress,
  security: Security | undefined,
): Partial<Pick<Security, "accept" | "secureContext" | "known">> {
  if (!security || !leavesMachine(address)) return {};
  const { accept, secureContext, known } = security;
  return { accept, secureContext, known };
}

/** What TLS needs is loaded by a manager that has it. */
async function openSecurity(options: SecurityOptions): Promise<Security> {
  return await (await import("../manager/enrolment/security.ts")).Security.open(options);
}

function ownFiles({
  tlsCert,
  tlsKey,
}: {
  tlsCert?: string;
  tlsKey?: string;
}): CredentialFiles | undefined {
  if (tlsCert !== undefined && tlsKey !== undefined)
    return { certificate: resolve(tlsCert), key: resolve(tlsKey) };
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  throw new UsageError("--tls-cert and --tls-key belong together; give both, or neither");
}

function networkAddress(text: string): NetworkAddress {
  const address = parseAddress(text);
  if (address.kind !== "unix") return address;
  throw new UsageError(
    `a manager listens at HOST:PORT and not at ${text}; choose another --listen`,
  );
}

/** Those of --prices, in an object that they are read into again. */
function pricesOf(
  { prices: path }: { prices?: string | undefined },
  files: Reloadable[],
): Prices | undefined {
  if (path === undefined) return undefined;
  const read = (): Prices => {
    const prices = readPrices(path);
    if (prices.pollingSecond < prices.executionSecond) log.warn(POLLING_IS_CHEAP);
    return prices;
  };
  const prices = read();
  files.push({ what: "the prices of --prices", read: () => void Object.assign(prices, read()) });
  return prices;
}

/** All that the file names, or none of them. */
function expectNodes(registry: Registry, path: string): void {
  const nodes = readNodeList(path).map(({ name, address, cores = 0, memoryBytes = 0 }) => ({
    ...{ name, address, cores, memoryBytes },
  }));
  const wrong = registry.expectAll(nodes);
  if (!wrong) return;
  throw new UsageError(`${path} has a node ${wrong.name} that cannot be: ${wrong.problem}`);
}

interface Announced {
  security: Security | undefined;
  tokens: TokenCheck;
  state: string;
  listen: NetworkAddress;
}

function announce(
  server: ManagerServer,
  http: HttpServer | undefined,
  { security, tokens, state, listen }: Announced,
): void {
  log.info(`managing at ${server.address}${http ? ` and ${http.url}` : ""}, state in ${state}`);
  const listening = networkAddress(server.address);
  if (security && leavesMachine(listen)) {
    const address = security.addressOf(listening);
    keepManagerAddress(state, address);
    log.info(`reach it with: --manager '${address}'   or   RFAAS_MANAGER='${address}'`);
    log.info(`add a node with what this prints: rfaas node join-token${stateFlag(state)}`);
    const { of, fingerprint } = security.pin;
    if (of === "ca") log.info(`or trust its CA everywhere: RFAAS_CA=${fingerprint}`);
  } else log.info(`add a node with: rfaas serve --manager ${foundAt(listening)}`);
  if (!security && leavesMachine(listen)) log.warn(INSECURE);
  log.info(RemoteCounters.describe());
  if (tokens.publicKey === null)
    log.info("there is no key: any program that reaches the port may be a node or a client");
}

const stateFlag = (state: string): string =>
  state === defaultStateDir() ? "" : ` --state ${resolve(state)}`;

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
