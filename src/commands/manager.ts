/** `rfaas manager`: the node registry, the ledger and their HTTP interface, until a signal ends it. */
import { resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { readNodeList } from "../client/cluster/node-list.ts";
import { formatAddress } from "../control/address.ts";
import { UsageError } from "../base/errors.ts";
import { DEFAULT_CERTIFICATE_TTL_MS } from "../manager/enrolment/authority.ts";
import type { Security, SecurityOptions } from "../manager/enrolment/security.ts";
import { startHttp } from "../manager/http/server.ts";
import { CurrentKey } from "../manager/tokens/current-key.ts";
import { clusterOf } from "../manager/tokens/keys.ts";
import { userLimits } from "../manager/quotas/user-limits.ts";
import { TokenTables, renewOwn } from "../manager/tokens/tables.ts";
import { Ledger } from "../manager/ledger/ledger.ts";
import { type Prices, readPrices } from "../manager/ledger/prices.ts";
import { Registry } from "../manager/nodes/registry.ts";
import { ManagerServer } from "../manager/server.ts";
import { keepManagerAddress } from "../manager/state/manager-address.ts";
import { createStateDir, defaultStateDir, ledgerPath } from "../manager/state/state.ts";
import type { CredentialFiles } from "../trust/credentials.ts";
import { whyOpenToOthers } from "../trust/files.ts";
import { takeState } from "../trust/state-lock.ts";
import { duration, tcpAddress, truth } from "../options/fields.ts";
import { inherited } from "../options/flags.ts";
import {
  announce,
  leavesMachine,
  networkAddress,
  reachedAt,
  securityAt,
} from "./managing/announce.ts";
import { SharedState, registryFields } from "./managing/shared-state.ts";
import { tellRevoked } from "./cluster/issued-tokens.ts";
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
const POLLING_IS_CHEAP =
  "--prices: a second of polling costs less than one of execution, and functions in native code can say that they polled while they computed; let both cost the same where you do not trust them";

const RegistryOptions = Type.Object(registryFields);
/** The first one of a text of keys. */
const PRESENT_KEY = /^[^]*?-----END PUBLIC KEY-----/;

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

With --registry, managers share an etcd: one leads, the others stand by, and one of these takes over within seconds when it dies. They share
nodes, wishes, join tokens and final bills; give each the same cluster-id, token-key.pem and ca-key.pem. An etcd that is down stops no lease.

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
    ...registryFields,
  }),
  examples: [
    ["rfaas manager", "on this machine alone"],
    ["rfaas manager --listen 10.0.0.1:7800 --http 10.0.0.1:7801", "for a cluster"],
    ["rfaas manager --registry etcd://10.0.0.1:2379", "the first, and the second, of two"],
    ["rfaas manager --nodes nodes.json --state /var/lib/rfaas", "with nodes that are expected"],
  ],
  async run(_args, options) {
    const { registryUrl, registryPassword } = registryOf(options);
    const listen = networkAddress(options.listen ?? DEFAULT_LISTEN);
    const httpListen = options.http === undefined ? undefined : networkAddress(options.http);
    const registry = new Registry();
    const files: Reloadable[] = [];
    reloadOnHangup(files);
    const prices = pricesOf(options, files);
    const {
      nodes,
      state = defaultStateDir(),
      nodeGraceMs: graceMs = DEFAULT_NODE_GRACE_MS,
    } = options;
    if (nodes !== undefined) readNodeList(nodes);
    createStateDir(state);
    const open = whyOpenToOthers(state);
    if (open !== undefined) log.warn(open);
    // For as long as this process lives.
    takeState(state, "manager");
    const ledger = Ledger.open(ledgerPath(state));
    const closing: (() => unknown)[] = [() => ledger.close()];
    try {
      const shared = await SharedState.open({
        ...{ stateDir: state, registryPassword, ledger, registry },
        flags: { ...options, registry: registryUrl },
        expect: () => nodes !== undefined && expectNodes(registry, nodes),
      });
      closing.unshift(() => shared.end());
      if (nodes !== undefined)
        files.push({ what: "the nodes of --nodes", read: () => shared.expectAgain() });
      const warn = (message: string): void => log.warn(message);
      const tables = TokenTables.open(state, warn);
      const limits = userLimits(state).watch(warn);
      const { revocations } = tables;
      const tokens = new CurrentKey(state, warn, revocations);
      closing.unshift(() => tokens[Symbol.dispose]());
      files.push({ what: "the keys of tokens", read: () => tokens.readAgain() });
      const common = {
        ...{ registry, tokens, standsBy: shared.standsBy, revocations },
        // What peers have said may stand in it.
        log: (level: "info" | "warn", message: string) => log[level](printable(message)),
      };
      const reached = [listen, ...(httpListen ? [httpListen] : [])];
      const security = await openSecurity(options, files, {
        ...{ stateDir: state, listen: reached, log: common.log },
      });
      const server = new ManagerServer(formatAddress(listen), {
        ...{ ...common, ledger: shared.sink, lost: { ledger: shared.open, graceMs } },
        authority: shared.enrolling(security?.authority),
        renewToken: (claims) => renewOwn(state, claims),
        quotas: {
          ...{ limits, graceMs },
          usedCoreNs: (user, sinceMs) => ledger.usedCoreNs(user, sinceMs),
          open: () => shared.open.live(),
        },
        ...securityAt(listen, security),
      });
      closing.unshift(() => server.close());
      const http = httpListen
        ? await startHttp({
            ...{
              ...common,
              ledger,
              server,
              ...{ issued: tables, limits },
              role: shared.role,
              settle: shared.settle,
              listen: formatAddress(httpListen),
            },
            ...securityAt(httpListen, security),
            ...(prices ? { prices } : {}),
          })
        : undefined;
      if (http) closing.splice(1, 0, () => http.stop());
      const own = security?.authority.fingerprint ?? null;
      await shared.begin(
        server,
        { address: reachedAt(server, security), http: http?.url ?? null },
        // Keys that were replaced follow the present one, and are in a file that managers share.
        () => ({
          ...{ cluster: clusterOf(state), ca: own },
          tokenKey: tokens.publicKey?.match(PRESENT_KEY)?.[0] ?? null,
        }),
        (addresses) => {
          if (security && leavesMachine(listen)) keepManagerAddress(state, addresses.join(","));
        },
      );
      closeOnSignal(closing);
      announce(server, http, { security, tokens, state, listen });
      tokens.onChange(() => {
        log.info(
          "there is a new key: nodes and clients need tokens that it has signed, or that a key has which it replaces and which still counts",
        );
        server.reconnectAll();
      });
      tables.onRevoked(() => tellRevoked(server));
    } catch (error) {
      for (const close of closing) await close();
      throw error;
    }
  },
});

/** TLS, where other machines reach the manager; what it needs is loaded then. */
async function openSecurity(
  options: Parameters<typeof ownFiles>[0] &
    Pick<SecurityOptions, "certificateTtlMs"> & { insecure?: boolean },
  files: Reloadable[],
  more: Omit<SecurityOptions, "own">,
): Promise<Security | undefined> {
  if (!more.listen.some(leavesMachine) || options.insecure) return undefined;
  const { certificateTtlMs } = options;
  const { Security: Opened } = await import("../manager/enrolment/security.ts");
  const security = await Opened.open({ ...more, own: ownFiles(options), certificateTtlMs });
  if (security.readAgain) files.push({ what: "key and certificate", read: security.readAgain });
  return security;
}

/** What managers share; a password in the URL stays in this process. */
function registryOf({ registry }: { registry?: string }): {
  registryUrl: string | undefined;
  registryPassword: string | undefined;
} {
  const registryUrl = registry ?? inherited(RegistryOptions, "registry");
  const password = /^etcd:\/\/[^@/]*:([^@/]*)@/.exec(registryUrl ?? "")?.[1];
  const { registryPassword } = keepSecrets(undefined, ...(password ? [password] : []));
  return { registryUrl, registryPassword };
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

function closeOnSignal(closing: readonly (() => unknown)[]): void {
  let signals = 0;
  const onSignal = async (signal: string) => {
    if (++signals > 1) process.exit(0);
    log.info(`${signal}: stopping`);
    for (const close of closing) await close();
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void onSignal(signal));
  process.on("SIGINT", (signal) => void onSignal(signal));
}
