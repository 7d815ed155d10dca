import { hostname } from "node:os";
import { type Static, Type } from "@sinclair/typebox";
import { foundAt, isLoopback, parseAddress } from "../control/address.ts";
import { OwnAddress } from "../control/reach/reach.ts";
import { UsageError } from "../base/errors.ts";
import { Agent } from "../executor/agent/agent.ts";
import { limiterFor } from "../executor/limits/registry.ts";
import { Bookkeeper } from "../executor/accounts/bookkeeper.ts";
import { planCpus } from "../executor/machine/cores.ts";
import {
  type MachineLimits,
  defaultOffer,
  excesses,
  machineLimits,
} from "../executor/machine/limits.ts";
import { DEFAULT_LIMIT_BYTES, DEFAULT_PACKAGE_LIMIT_BYTES } from "../executor/packages/cache.ts";
import { ModuleWatch } from "../executor/packages/module-watch.ts";
import { demandAsked, namesOf, surveyFabrics } from "../fabric/registry.ts";
import { journalsPath } from "../manager/state/state.ts";
import {
  DEFAULT_HOST_TIMEOUT_MS,
  MAX_HOST_TIMEOUT_MS,
  MIN_HOST_TIMEOUT_MS,
} from "../protocol/fields.ts";
import { MAX_NODE_NAME_CHARACTERS, NODE_NAME_PATTERN } from "../protocol/manager-messages.ts";
import type { Revocation } from "../protocol/tokens/revocation.ts";
import { countOf, formatBytes, parseBytes } from "../base/units.ts";
import { AllocateOptions } from "../client/options/allocate-options.ts";
import { InvokerOptions, ManagedClusterOptions } from "../client/options/connect-options.ts";
import { address, bytes, duration, readAs, text, truth, whole, worded } from "../options/fields.ts";
import { inherited, optionsFor } from "../options/flags.ts";
import { PackageOptions } from "../package/options.ts";
import { tellHowToReach } from "./serving/how-to-reach.ts";
import { openDoor, readRevoked } from "./serving/doorkeeper.ts";
import { drainOnSignal } from "./serving/drain-on-signal.ts";
import { identityOf } from "./serving/identity.ts";
import { linkOf } from "./serving/joining.ts";
import { dataPortOf, listenFor, listeningAddress } from "./serving/listening.ts";
import { openPackages, watchedModule } from "./serving/packages.ts";
import { keepSecrets } from "./serving/secrets.ts";
import { warnOfOwnName } from "./serving/own-name.ts";
import { requireSense } from "./serving/sense.ts";
import { openSandbox, sandboxFields, usableInRooms } from "./serving/sandbox.ts";
import { defineCommand } from "./shared/command.ts";
import { pathField, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { logLine } from "./shared/table.ts";
import { fabricFields, readFabric } from "./shared/fabric-options.ts";
import { type Reloadable, reloadOnHangup } from "./shared/reload.ts";

const DEFAULT_DRAIN_MS = 30_000;
const MAX_DRAIN_MS = 86_400_000;

const { cores, memory, prewarm, keptHosts } = InvokerOptions.properties;
const { polling } = AllocateOptions.properties;
const { include, external } = PackageOptions.properties;

const Options = Type.Object({
  cores: worded(cores, { description: "cores to lease" }),
  memory: worded(memory, { description: "memory to lease" }),
  listen: Type.Optional(
    address({
      description: "socket path or HOST:PORT",
      otherwise: "a socket in $XDG_RUNTIME_DIR or /tmp",
    }),
  ),
  dataPort: Type.Optional(
    whole(1, 65_535, {
      description: "a port beside that of --listen, to which clients bring the data of leases",
      otherwise: "data comes to the port of --listen",
    }),
  ),
  polling: worded(polling, {
    description: "how workers wait, on leases that do not say",
    default: "adaptive",
  }),
  prewarm: worded(prewarm, { description: "host processes to keep ready" }),
  keptHosts: worded(keptHosts, {
    description: "host processes to keep with their module, for leases that ask for it, at most",
  }),
  hostTimeoutMs: Type.Optional(
    duration(MIN_HOST_TIMEOUT_MS, MAX_HOST_TIMEOUT_MS, {
      description:
        "how long a host may be stopped, or give no sign of life in calls, on leases that do not say",
      default: DEFAULT_HOST_TIMEOUT_MS,
    }),
  ),
  drainMs: Type.Optional(
    duration(0, MAX_DRAIN_MS, {
      description: "how long leases may go on after the first signal",
      default: DEFAULT_DRAIN_MS,
      bare: "s",
    }),
  ),
  allowRemote: Type.Optional(
    truth({ description: "without a key: serve every client that reaches the port" }),
  ),
  tokenKey: pathField("file", { description: "public key that tokens must be signed with" }),
  revokedTokens: pathField("file", {
    description:
      "with --token-key: tokens that were revoked, as a state directory has them in revoked-tokens.json",
    otherwise: "none, or those that the manager says",
  }),
  tlsCert: pathField("file", {
    description: "the node's own certificate, in PEM, with what leads to its CA, and the CA",
    otherwise: "one that it makes",
  }),
  tlsKey: pathField("file", { description: "with --tls-cert: its key" }),
  insecure: Type.Optional(
    truth({ description: "control connections of other machines may be in clear" }),
  ),
  ...stateField("where the node keeps its key, and bills that no manager has taken"),
  manager: Type.Optional(
    worded(ManagedClusterOptions.properties.manager, {
      description: "HOST:PORT of the manager to join, or of several with commas between",
    }),
  ),
  join: Type.Optional(
    text("a join token", {
      description: "the token that lets the node into the manager's cluster, at its first start",
      variable: "RFAAS_JOIN_TOKEN",
      placeholder: "token",
    }),
  ),
  name: Type.Optional(
    readAs(nodeName, {
      description: "the node's name in the cluster",
      otherwise: "the host's",
      placeholder: "name",
    }),
  ),
  advertise: Type.Optional(
    address({
      description: "where clients find the node",
      otherwise: "what --listen says, the host's name where that is every address",
    }),
  ),
  cache: pathField("folder", {
    description: "where packages are kept",
    otherwise: "$XDG_CACHE_HOME/rfaas or ~/.cache/rfaas",
  }),
  cacheLimit: Type.Optional(
    bytes(1, Number.MAX_SAFE_INTEGER, {
      description: "for all packages; the longest unused go first",
      default: DEFAULT_LIMIT_BYTES,
    }),
  ),
  userCacheLimit: Type.Optional(
    bytes(1, Number.MAX_SAFE_INTEGER, {
      description: "for the packages of one user, but for the node's own",
      otherwise: "half of --cache-limit",
    }),
  ),
  packageLimit: Type.Optional(
    bytes(1, Number.MAX_SAFE_INTEGER, {
      description: "for one package",
      default: DEFAULT_PACKAGE_LIMIT_BYTES,
    }),
  ),
  watch: pathField("file", { description: "let leases of this module follow its changes" }),
  include: worded(include, { description: `with --watch: ${include.description}` }),
  external: worded(external, { description: `with --watch: ${external.description}` }),
  ...sandboxFields,
  ...fabricFields,
});
type Options = Static<typeof Options>;

export const serve = defineCommand({
  usage: "serve",
  summary: "run an executor node",
  description: `Owns cores and memory of this machine, grants leases on them, and runs the functions of the lease holders. Runs until
SIGTERM or SIGINT, then grants no more leases, waits for the present ones, and exits; a second signal ends them at once. SIGHUP ends
nothing: it reads the files of --token-key, --revoked-tokens, --tls-cert and --tls-key again, and keeps what it had where one is wrong.

Over the socket only its owner may connect. Over TCP, the node serves programs of the same user over loopback, and clients with a token
that was signed with the key of the manager, or of --token-key. With --allow-remote and no key it trusts the network: any client that
reaches the port runs functions here.

Functions run in rooms (--sandbox): they read their package and the system's libraries, write in a scratch folder, and have the network or
start programs where a lease asks for that and --allow-network or --allow-processes allows it. A node that serves others does not start
where a guard of its sandbox is missing, unless it is told to by --no-require-isolation.

With --manager the node tells a manager that it is there, what it has free and what its leases cost, and is drained and resumed
from there. It grants leases itself, whether the manager runs or not. A manager on another machine lets it in once by a join token, as rfaas
node join-token prints it; from then on the node has a certificate and, where the manager asks for one, a token of its own in its state
directory, and renews them. To a manager on the same machine it shows RFAAS_TOKEN, where one is asked for.

Functions come as packages: clients send what the node has not got, and it keeps them in a cache, which nodes of one user may
share. With --watch, for development, leases of that file go over to what it has become whenever it, or what it imports, changes.

What functions start, threads and child processes, runs on the cores of their worker: one, or as many as the lease asks for with
coresPerWorker (--cores-per-worker), which are set aside and billed. OpenMP, BLAS, nproc and navigator.hardwareConcurrency see so many.

Calls from this machine go through shared memory, calls from others over RDMA, on every active port that has an IP address, where both
have it, and over TCP through the node's own port where not. With --encrypt, over TCP alone, encrypted: RDMA encrypts nothing.`,
  options: Options,
  examples: [
    ["rfaas serve", "serve on the default socket"],
    ["rfaas serve --cores 4 --memory 8GiB --listen /run/rfaas/node.sock", "with limits, elsewhere"],
    ["rfaas serve --watch fn.ts", "edit fn.ts while a program calls it"],
    ["rfaas serve --listen 10.0.0.5:7700 --allow-remote --fabric verbs", "for a cluster with RDMA"],
    [
      "rfaas serve --listen 0.0.0.0:7700 --manager 'rfaas://10.0.0.1:7800?ca=sha256:..' --join join-..",
      "joins a cluster, as rfaas node join-token prints it",
    ],
  ],
  async run(_args, options) {
    const files: Reloadable[] = [];
    reloadOnHangup(files);
    const { token, joinToken } = keepSecrets(options.join ?? inherited(Options, "join"));
    const limits = machineLimits();
    const usual = defaultOffer(limits);
    const { cores = usual.cores, drainMs = DEFAULT_DRAIN_MS } = options;
    const memoryBytes =
      options.memory === undefined ? usual.memoryBytes : parseBytes(options.memory, "--memory");
    const asked = readFabric(options);
    // Before anything is started.
    requireSense(options);
    const sandbox = openSandbox(options, servesOthers(options));
    const survey = usableInRooms(surveyFabrics(asked), sandbox, options);
    const { offers: fabrics, withheld } = demandAsked(asked, survey);
    const name = options.manager === undefined ? "" : (options.name ?? nodeName(hostname()));
    const doorkeeper = openDoor(options, files);
    const revoke = (tokens: Iterable<Revocation>): void => {
      doorkeeper.useRevocations(tokens);
      agent.revokeTokens((identity) => doorkeeper.revocationOf(identity));
    };
    const listening = listeningAddress(options);
    const named = { ...options, name, joinToken };
    const { membership, security, credentials } = await identityOf(named, listening);
    if (credentials)
      files.push({ what: "key and certificate", read: () => credentials.readAgain() });
    const data = dataPortOf(options, listening, fabrics);
    const packages = openPackages(options, (message) => log.warn(logLine(message)));
    const watched = watchedModule(options);
    const agent = new Agent({
      ...{ packages, sandbox, limiter: limiterFor() },
      identify: (token, by) => doorkeeper.identify(token, by),
      ...{ fabrics, withheld },
      encrypt: asked.encrypt,
      // With a certificate it may be reached through a tunnel, wherever it listens.
      networked: Boolean(credentials) || (listening.kind !== "unix" && !isLoopback(listening.host)),
      dataPort: options.dataPort,
      cpus: planCpus(cores, limits.cpus),
      memoryBytes,
      polling: options.polling ?? "adaptive",
      prewarm: options.prewarm ?? 1,
      keptHosts: options.keptHosts,
      hostTimeoutMs: options.hostTimeoutMs,
      log: (level, message) => log[level](logLine(message)),
    });
    readRevoked(options, files, revoke);
    doorkeeper.onKeys(() => void agent.useKeys((identity) => doorkeeper.keyUntilMs(identity)));
    const own = new OwnAddress();
    const listener = await listenFor(agent, listening, { security, own, data });
    let bookkeeper: Bookkeeper | undefined;
    drainOnSignal(agent, listener, drainMs, () => bookkeeper?.leave());
    const over = fabrics.map(({ description }) => description);
    log.info(
      `serving ${countOf(cores, "core")} and ${formatBytes(memoryBytes)} at ${listener.address} over ${over.join(" and ")}`,
    );
    log.info(`${whyCores(options, limits)}; ${whyMemory(options, limits)}`);
    for (const excess of excesses({ cores, memoryBytes }, limits)) log.warn(excess);
    const reach = { serves: servesOthers(options), key: credentials?.fingerprint };
    const { insecure, advertise } = options;
    tellHowToReach(parseAddress(listener.address), { ...reach, insecure, advertise });
    void warnOfOwnName(parseAddress(listener.address), options);

    if (watched !== undefined)
      new ModuleWatch(watched, optionsFor(PackageOptions, options), packages, {
        built: (hash) => agent.reload(watched, hash),
        log: (level, message) => log[level](logLine(message)),
      }).start();

    if (options.manager !== undefined)
      bookkeeper = new Bookkeeper(agent, doorkeeper, {
        ...(membership ? linkOf(membership) : { manager: options.manager }),
        givenToken: token,
        insecure: options.insecure,
        name,
        address: options.advertise ?? foundAt(parseAddress(listener.address)),
        memoryBytes,
        fabrics: namesOf(fabrics),
        removalLimitMs: drainMs,
        own,
        ...{ revoked: revoke, quota: agent.quota },
        journals: journalsPath(options.state),
        log: (level, message) => log[level](logLine(message)),
      });
  },
});

const whyCores = ({ cores }: Options, limits: MachineLimits): string =>
  `cores: ${cores === undefined ? limits.cores.from : "as --cores says"}`;

const whyMemory = ({ memory }: Options, { memoryBytes: { value, from } }: MachineLimits): string =>
  `memory: ${memory === undefined ? `half of ${formatBytes(value)}, ${from}` : "as --memory says"}`;

/** Whether clients of other machines may lease here. */
const servesOthers = ({ allowRemote = false, tokenKey, manager }: Options): boolean =>
  allowRemote || tokenKey !== undefined || manager !== undefined;

function nodeName(name: string, what = "--name"): string {
  if (name.length > MAX_NODE_NAME_CHARACTERS || !new RegExp(NODE_NAME_PATTERN).test(name))
    throw new UsageError(
      `${what} must be 1 to ${MAX_NODE_NAME_CHARACTERS} letters, digits or . _ : -; it is "${name}"`,
    );
  return name;
}
